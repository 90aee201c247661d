/**
 * Options that say who writes a collection, and how conflicts in it are settled.
 *
 * @module
 */

import type { CollectionMode, ConflictConfig } from "../src/mod.ts";
import { readConflict } from "../src/protocol/encoding/conflict_settings.ts";
import { choiceOption, listOption, type RawOptions, textOption } from "./options.ts";

/** The mode, as the library names it. Throws UsageError. */
export function modeOption(options: RawOptions): CollectionMode {
  const mode = choiceOption(options, "mode", {
    allowed: ["master-slave", "multi-master"],
    fallback: "master-slave",
  });
  return mode === "multi-master" ? "MULTI_MASTER" : "MASTER_SLAVE";
}

/** The conflict rule of `--conflict` and the options beside it. Throws ValidationError. */
export function conflictOption(options: RawOptions): ConflictConfig {
  const [removal, resolver] = [textOption(options, "removal"), textOption(options, "resolver")];
  const priorities = listOption(options, "priorities");
  return readConflict({
    strategy: textOption(options, "conflict"),
    ...(removal !== undefined && { removal }),
    ...(resolver !== undefined && { resolver }),
    ...(priorities.length > 0 && { priorities }),
  });
}
