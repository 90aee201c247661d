/**
 * The executable with a disk that can be made slow or full: the environment variable
 * `CSTORE_DISK_SWITCH` names the switch file. Everything else is the shipped program.
 *
 * @module
 */

import { systemFileSystem } from "../../src/platform/file_system.ts";
import { environment } from "../../src/platform/process.ts";
import { faultyFiles } from "./faulty_files.ts";

const switchFile = environment("CSTORE_DISK_SWITCH");
if (switchFile === undefined) throw new Error("CSTORE_DISK_SWITCH names no switch file");
// The program takes the machine's files from this one object, so it is changed before it is used.
Object.assign(systemFileSystem, faultyFiles({ ...systemFileSystem }, switchFile));
await import("../../cli/main.ts");
