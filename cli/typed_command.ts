/**
 * How a person types this program in another terminal, so that printed commands can be copied.
 *
 * @module
 */

import { existsSync, realpathSync } from "node:fs";
import { basename, delimiter, join, relative } from "node:path";
import process from "node:process";
import { environment } from "../src/platform/process.ts";
import { ownCommand } from "./local/node_process.ts";

/** `cstore` if that is on the path, else the program and its script, from this folder. */
export function typedCommand(): string {
  const { program, words } = ownCommand();
  const script = words.at(-1) ?? program;
  if (onPath("cstore") === real(script)) return "cstore";
  const typed = words.map((word) => (existsSync(word) ? shorten(word) : word));
  return [typedProgram(program), ...typed].map(quote).join(" ");
}

function typedProgram(program: string): string {
  for (const name of ["bun", "deno", "node"]) {
    if (onPath(name) === real(program)) return name;
  }
  for (const name of ["bun", "deno"]) {
    const local = join("node_modules", ".bin", name);
    if (existsSync(local) && real(local) === real(program)) return local;
  }
  return shorten(program);
}

/** The file that a shell would run; npm's own folders are not on the path of another terminal. */
function onPath(name: string): string | undefined {
  const folders = (environment("PATH") ?? "").split(delimiter);
  const found = folders
    .filter((folder) => folder !== "" && !folder.includes("node_modules"))
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
  return found === undefined ? undefined : real(found);
}

function real(path: string): string {
  return existsSync(path) ? realpathSync(path) : path;
}

/** From the present folder if it lies in there. */
function shorten(path: string): string {
  const near = relative(process.cwd(), path);
  if (near === "" || near.startsWith("..")) return path;
  return near.includes("/") ? near : `./${basename(near)}`;
}

function quote(word: string): string {
  return /^[A-Za-z0-9_./=:@,+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
