/**
 * Durations and byte sizes as people write them: "200ms", "1.5s", "64MiB".
 *
 * @module
 */

import { ConfigError } from "./errors.ts";

const DURATIONS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const SIZES: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/**
 * Milliseconds from "250ms", "2s", "5m", "1h" or a bare number of milliseconds. Throws ConfigError.
 */
export function parseDuration(text: string, optionName: string): number {
  return parseUnit({ text, optionName, units: DURATIONS, example: "200ms, 1.5s, 2m" });
}

/** Bytes from "64MiB", "512KiB" or a bare number of bytes. Throws ConfigError. */
export function parseSize(text: string, optionName: string): number {
  const bytes = parseUnit({ text, optionName, units: SIZES, example: "512KiB, 64MiB" });
  if (Number.isInteger(bytes)) return bytes;
  throw new ConfigError(
    `Cannot read option ${optionName}: "${text}" is not a whole number of bytes`,
  );
}

function parseUnit(input: {
  readonly text: string;
  readonly optionName: string;
  readonly units: Readonly<Record<string, number>>;
  readonly example: string;
}): number {
  const match = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(input.text.trim());
  const unit = match?.[2] ?? "";
  const factor = unit === "" ? 1 : Object.hasOwn(input.units, unit) ? input.units[unit] : undefined;
  if (match === null || factor === undefined) {
    throw new ConfigError(
      `Cannot read option ${input.optionName}: "${input.text}" is not a value`,
      {
        remedy: `Write it like ${input.example}`,
      },
    );
  }
  const value = Number(match[1]) * factor;
  if (value <= Number.MAX_SAFE_INTEGER) return value;
  throw new ConfigError(`Cannot read option ${input.optionName}: "${input.text}" is too large`);
}

/** "12.3 MiB" */
export function printSize(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"]) {
    const factor = SIZES[unit] ?? 1;
    if (bytes >= factor) return `${(bytes / factor).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

/** "0.43 ms", "12 ms", "3.2 s" */
export function printDuration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}
