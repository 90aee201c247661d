/**
 * The process: arguments, environment, signals, exit. Used by the executable only, except for the
 * process id, which a node's status names.
 *
 * @module
 */

import process from "node:process";

/** This process's number. */
export function processId(): number {
  return process.pid;
}

/** Resident memory in bytes. */
export function residentBytes(): number {
  return process.memoryUsage.rss();
}

/** Processor time used so far, in milliseconds. */
export function cpuMs(): number {
  const usage = process.cpuUsage();
  return (usage.user + usage.system) / 1000;
}

/** Arguments after the program's name. */
export function commandLine(): readonly string[] {
  return process.argv.slice(2);
}

/** An environment variable; undefined when it is not set. */
export function environment(name: string): string | undefined {
  return process.env[name];
}

/** "bun 1.4.5", "deno 2.9.6", "node 20.20.2" */
export function runtimeName(): string {
  const versions: Readonly<Record<string, string | undefined>> = process.versions;
  for (const name of ["bun", "deno"]) {
    const version = versions[name];
    if (version !== undefined) return `${name} ${version}`;
  }
  return `node ${process.versions.node}`;
}

/** Signals that ask a process to end. */
export type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** Calls back on SIGINT and SIGTERM; on SIGHUP, too, where the terminal's end is the program's. */
export function onStopSignal(
  callback: (signal: StopSignal) => void,
  signals: readonly StopSignal[] = ["SIGINT", "SIGTERM"],
): void {
  for (const signal of signals) process.on(signal, () => callback(signal));
}

/** The process goes on without its terminal, and when what it prints cannot be written. */
export function detachFromOutput(): void {
  process.on("SIGHUP", () => undefined);
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
}

/** Calls back with an uncaught error: a bug, after which the process must end. */
export function onUncaught(callback: (cause: unknown) => void): void {
  process.on("uncaughtException", callback);
  process.on("unhandledRejection", callback);
}

/** Ends the process. */
export function exit(code: number): never {
  process.exit(code);
}
