/**
 * A disk in memory that forgets like a real one. It is a {@link FileSystem} with a page cache over
 * it and a power switch beside it; nothing in it waits, sleeps or draws from anything but the given
 * random numbers, so that one seed gives one history.
 *
 * - A write reaches the page cache. A sync makes durable what was written **before it was issued**,
 *   at the moment at which the scheduler completes it.
 * - Creating, renaming and removing a name is durable only after the sync of its folder. Until then
 *   each of these is, at a power cut, kept or lost by itself.
 * - A power cut decides for each sector of 512 bytes that holds unsynced bytes whether these are
 *   kept, dropped (what was there before), zeroed or garbled. Synced bytes of the same sector stay:
 *   the drive is taken to write sectors atomically. `tearsWholeSectors` takes that away.
 * - A failed sync marks the pages clean without saving them: reads go on to show the new bytes, the
 *   next sync succeeds, and a power cut takes them away. That is what Linux does.
 * - A process that is killed loses its open files and its locks; the page cache stays.
 *
 * @module
 */

import { LockedError, StorageError } from "../../src/base/errors.ts";
import type { FileSystem, OpenFile } from "../../src/platform/file_system.ts";
import type { Random } from "../../src/platform/random.ts";

/** What is written atomically, and what a power cut decides about. */
export const SECTOR_SIZE = 512;

/** What becomes of the unsynced bytes of one sector at a power cut. */
export type SectorFate = "kept" | "dropped" | "zeroed" | "garbled";

/** What a power cut decides about: a sector of a file, or a change of a name in a folder. */
export interface FatePlace {
  readonly path: string;
  /** Number of the sector; undefined for a change of a name. */
  readonly sector: number | undefined;
}

/** Decides at a power cut. For a change of a name all but "kept" means that it never happened. */
export type FateDecision = (place: FatePlace) => SectorFate;

/**
 * How a sync ends. `stalled`: not before {@link SimulatedDisk.releaseStalled}. `lied`: it says that
 * it is done, but what it should have saved is at risk until a later sync is done.
 */
export type SyncFate = "done" | "failed" | "stalled" | "lied";

/** A sector that a disk wrote to the wrong place. */
interface Misdirection {
  readonly inode: Inode;
  readonly sector: number;
  readonly bytes: Uint8Array;
  readonly wrongSector: number;
  readonly before: Uint8Array;
  /** Sectors that were written since then. */
  readonly rewritten: Set<number>;
  /** Syncs of the same file since then. */
  syncsSince: number;
}

/** Syncs after which a log's later records tell that an earlier one is missing. */
const MISDIRECTION_SYNCS = 4;

/** What can be made to go wrong. May be replaced at any time. */
export interface DiskFaults {
  /** Decides how a sync of a file or directory ends, when it is issued. */
  sync?(path: string): SyncFate;
  /** Called before a write; an error is thrown instead of writing. */
  write?(path: string, position: number, size: number): Error | undefined;
}

/** How a disk is set up. */
export interface DiskOptions {
  readonly random: Random;
  /** Runs `complete` when the disk has finished a sync; a microtask later by default. */
  readonly schedule?: (complete: () => void, path: string) => void;
  /** Bytes of all files together; a write beyond fails with ENOSPC. */
  readonly capacityBytes?: number;
  /** Whether a power cut may also damage synced bytes that share a sector with unsynced ones. */
  readonly tearsWholeSectors?: boolean;
}

/** Unsynced bytes of one sector: from the first to behind the last one, and their content. */
interface DirtySector {
  from: number;
  to: number;
}

/** What one sync took along: content of the sectors as they were when it was issued. */
interface Flight {
  readonly sectors: ReadonlyMap<
    number,
    { readonly range: DirtySector; readonly bytes: Uint8Array }
  >;
  readonly size: number;
  isOver: boolean;
}

/** The content of one file, twice: as programs see it, and as the platter has it. */
class Inode {
  cache = new Uint8Array(0);
  size = 0;
  durable = new Uint8Array(0);
  durableSize = 0;
  /** Smallest size since the last sync, if the file was cut. */
  cutTo: number | undefined;
  readonly dirty = new Map<number, DirtySector>();
  readonly flights: Flight[] = [];

  write(position: number, bytes: Uint8Array): void {
    const end = position + bytes.byteLength;
    this.cache = grown(this.cache, end);
    this.cache.set(bytes, position);
    const before = this.size;
    this.size = Math.max(this.size, end);
    this.#soil(Math.min(position, before), end);
  }

  truncate(size: number): void {
    if (size < this.size) {
      this.cutTo = Math.min(this.cutTo ?? size, size);
      this.cache.fill(0, size, this.size);
      for (const sector of this.dirty.keys()) {
        if (sector * SECTOR_SIZE >= size) this.dirty.delete(sector);
      }
    } else {
      this.cache = grown(this.cache, size);
      this.#soil(this.size, size);
    }
    this.size = size;
  }

  /** Takes everything dirty into a flight. */
  issue(): Flight {
    const sectors = new Map<number, { range: DirtySector; bytes: Uint8Array }>();
    for (const [sector, range] of this.dirty) {
      const start = sector * SECTOR_SIZE;
      sectors.set(sector, { range, bytes: this.cache.slice(start, start + SECTOR_SIZE) });
    }
    this.dirty.clear();
    const flight = { sectors, size: this.size, isOver: false };
    this.flights.push(flight);
    return flight;
  }

  /** A sync covers everything written before it, so earlier flights have landed too. */
  land(flight: Flight): void {
    while (this.flights.length > 0) {
      const first = this.flights.shift();
      if (first === undefined || first.isOver) continue;
      first.isOver = true;
      this.#resize(first.size);
      this.cutTo = undefined;
      for (const [sector, { bytes }] of first.sectors) this.#put(sector, bytes);
      if (first === flight) return;
    }
  }

  /** Like {@link land}, but one sector goes to another place; undefined if there is no other. */
  misland(flight: Flight, random: Random): Misdirection | undefined {
    // A segment's first sector is spared: without it nothing tells what stood in the last segment
    // (docs/disk_format.md, remaining risk). Zeros in the wrong place would show nothing.
    const first = [...flight.sectors].find(([at, { bytes }]) => at > 0 && bytes.some((b) => b > 0));
    const sectors = Math.floor(this.durableSize / SECTOR_SIZE);
    if (first === undefined || sectors < 2 || this.flights[0] !== flight) return undefined;
    const [sector, { bytes }] = first;
    const wrongSector = 1 + random.below(sectors - 1);
    if (wrongSector === sector || flight.sectors.has(wrongSector)) return undefined;
    const right = this.#sector(sector);
    const before = this.#sector(wrongSector);
    this.land(flight);
    this.#put(sector, right);
    this.#put(wrongSector, bytes);
    return { inode: this, sector, bytes, wrongSector, before, rewritten: new Set(), syncsSince: 0 };
  }

  /** The drive saw its mistake after all. */
  redirect({ sector, bytes, wrongSector, before, rewritten }: Misdirection): void {
    if (!rewritten.has(sector)) this.#put(sector, bytes);
    if (!rewritten.has(wrongSector)) this.#put(wrongSector, before);
  }

  /** One byte changes, in the cache and on the platter; what is dirty stays so. */
  flip(byte: number, mask: number): void {
    if (byte < this.size) this.cache[byte]! ^= mask;
    if (byte < this.durableSize) this.durable[byte]! ^= mask;
  }

  /** Synced bytes before the zeros at the end. */
  usedSize(): number {
    let end = this.durableSize;
    while (end > 0 && this.durable[end - 1] === 0) end -= 1;
    return end;
  }

  /** The pages count as clean; of their content only what `reaches` says got to the platter. */
  lose(flight: Flight, reaches: () => boolean): void {
    if (flight.isOver) return;
    flight.isOver = true;
    this.flights.splice(this.flights.indexOf(flight), 1);
    for (const [sector, { bytes }] of flight.sectors) {
      if (sector * SECTOR_SIZE < this.durableSize && reaches()) this.#put(sector, bytes);
    }
  }

  /** The cache is gone; what was on its way is at the mercy of `decide`. */
  cutPower(
    random: Random,
    decide: (sector: number) => SectorFate,
    tearsWholeSectors: boolean,
  ): void {
    if (this.cutTo !== undefined && random.below(2) === 0) {
      this.#resize(Math.min(this.durableSize, this.cutTo));
    }
    this.issue();
    for (const { sectors, isOver } of this.flights.splice(0)) {
      if (isOver) continue;
      for (const [sector, { range, bytes }] of [...sectors].sort(([a], [b]) => a - b)) {
        const fate = decide(sector);
        if (fate === "dropped") continue;
        const whole = tearsWholeSectors && fate !== "kept";
        const { from, to } = whole ? { from: 0, to: bytes.byteLength } : range;
        const content = this.#sector(sector);
        for (let i = from; i < to; i += 1) {
          if (fate === "kept") content[i] = bytes[i]!;
          else content[i] = fate === "zeroed" ? 0 : random.below(256);
        }
        const end = sector * SECTOR_SIZE + to;
        if (end > this.durableSize) this.#resize(end);
        this.#put(sector, content.subarray(0, Math.max(to, 0)));
      }
    }
    this.cutTo = undefined;
    this.cache = this.durable.slice(0, this.durableSize);
    this.size = this.durableSize;
  }

  copy(): Inode {
    const copy = new Inode();
    copy.durable = this.durable.slice(0, this.durableSize);
    copy.durableSize = this.durableSize;
    copy.cache = this.cache.slice(0, this.size);
    copy.size = this.size;
    copy.cutTo = this.cutTo;
    for (const [sector, range] of this.dirty) copy.dirty.set(sector, { ...range });
    for (const flight of this.flights) copy.flights.push({ ...flight });
    return copy;
  }

  /** Both copies at once: what a rotten bit or another program does. */
  overwrite(bytes: Uint8Array): void {
    this.cache = bytes.slice();
    this.size = bytes.byteLength;
    this.durable = bytes.slice();
    this.durableSize = bytes.byteLength;
    this.dirty.clear();
    this.flights.length = 0;
    this.cutTo = undefined;
  }

  #soil(from: number, to: number): void {
    for (let at = from; at < to; ) {
      const sector = Math.floor(at / SECTOR_SIZE);
      const start = sector * SECTOR_SIZE;
      const end = Math.min(to, start + SECTOR_SIZE);
      const range = this.dirty.get(sector);
      if (range === undefined) this.dirty.set(sector, { from: at - start, to: end - start });
      else {
        range.from = Math.min(range.from, at - start);
        range.to = Math.max(range.to, end - start);
      }
      at = end;
    }
  }

  #sector(sector: number): Uint8Array {
    const content = new Uint8Array(SECTOR_SIZE);
    const start = sector * SECTOR_SIZE;
    content.set(this.durable.subarray(start, Math.min(start + SECTOR_SIZE, this.durableSize)));
    return content;
  }

  #put(sector: number, bytes: Uint8Array): void {
    const start = sector * SECTOR_SIZE;
    const room = this.durableSize - start;
    if (room >= bytes.byteLength) this.durable.set(bytes, start);
    else if (room > 0) this.durable.set(bytes.subarray(0, room), start);
  }

  #resize(size: number): void {
    this.durable = grown(this.durable, size);
    if (size < this.durableSize) this.durable.fill(0, size, this.durableSize);
    this.durableSize = size;
  }
}

function grown(bytes: Uint8Array<ArrayBuffer>, size: number): Uint8Array<ArrayBuffer> {
  if (size <= bytes.byteLength) return bytes;
  const larger = new Uint8Array(Math.max(size, bytes.byteLength * 2));
  larger.set(bytes);
  return larger;
}

type Node = Inode | Folder;

/** One change of a folder's names; all of it happens or nothing. */
interface NameChange {
  readonly removed: string | undefined;
  readonly added: readonly [string, Node] | undefined;
}

/** A folder: its names as programs see them, and as the platter has them. */
class Folder {
  readonly names = new Map<string, Node>();
  readonly durable = new Map<string, Node>();
  readonly pending: NameChange[] = [];
  /** Changes that are durable, or were lost at a power cut. */
  settled = 0;

  change(change: NameChange): void {
    applyChange(this.names, change);
    this.pending.push(change);
  }

  /** Number of the last change so far. */
  issue(): number {
    return this.settled + this.pending.length;
  }

  land(through: number): void {
    const landed = this.pending.splice(0, Math.max(0, through - this.settled));
    for (const change of landed) applyChange(this.durable, change);
    this.settled += landed.length;
  }

  cutPower(survives: (name: string) => boolean): void {
    for (const change of this.pending.splice(0)) {
      const name = change.added?.[0] ?? change.removed ?? "";
      if (survives(name)) applyChange(this.durable, change);
      this.settled += 1;
    }
    this.names.clear();
    for (const [name, node] of this.durable) this.names.set(name, node);
  }
}

function applyChange(names: Map<string, Node>, change: NameChange): void {
  if (change.removed !== undefined) names.delete(change.removed);
  if (change.added !== undefined) names.set(...change.added);
}

/** One run of a program: its open files and locks end with it. */
class Process {
  isAlive = true;
  readonly locks = new Set<string>();
  readonly openFiles = new Set<{ readonly path: string }>();
}

/** The disk of one machine. */
export class SimulatedDisk {
  faults: DiskFaults = {};
  capacityBytes: number;
  /** The next sync of a log file puts a sector in the wrong place. */
  misdirectNext = false;
  #misdirection: Misdirection | undefined;
  /** Changes so far: writes, syncs, changes of names. */
  operations = 0;
  readonly #options: DiskOptions;
  #root = new Folder();
  #process = new Process();
  #stalled: (() => void)[] = [];
  #halt: { atOperation: number; tell: () => void } | undefined;

  constructor(options: DiskOptions) {
    this.#options = options;
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
  }

  /** The file system as the running process sees it; it fails once that process is gone. */
  get files(): FileSystem {
    return new SimulatedFiles(this, this.#process);
  }

  /** `kill -9`: open files and locks are gone, and running syncs never end. */
  killProcess(): void {
    this.#process.isAlive = false;
    this.#process = new Process();
    this.#halt = undefined;
    this.#stalled = [];
  }

  /**
   * The power fails: beside the process the page cache is gone. By default each sector's fate is
   * drawn, from a mixture that is drawn for this cut.
   */
  cutPower(decide?: FateDecision): void {
    this.killProcess();
    this.misdirectNext = false;
    const wrong = this.#misdirection;
    this.#misdirection = undefined;
    if (wrong !== undefined && wrong.syncsSince < MISDIRECTION_SYNCS) wrong.inode.redirect(wrong);
    const { random } = this.#options;
    const mixture = MIXTURES[random.below(MIXTURES.length)]!;
    const drawn = (): SectorFate => mixture[random.below(mixture.length)]!;
    this.#cutFolder(this.#root, "", decide ?? drawn);
  }

  /** Kills the process at the n-th change from now; the promise resolves when that has happened. */
  haltAfter(operations: number): Promise<void> {
    return new Promise((tell) => {
      this.#halt = { atOperation: this.operations + operations, tell };
    });
  }

  /** Completes the syncs that stalled. */
  releaseStalled(): void {
    for (const complete of this.#stalled.splice(0)) complete();
  }

  /** Paths of the files that the running process holds open, sorted. */
  get openFiles(): readonly string[] {
    return [...this.#process.openFiles].map(({ path }) => path).sort();
  }

  get stalledCount(): number {
    return this.#stalled.length;
  }

  /** Content of a file as programs see it. */
  readFile(path: string): Uint8Array {
    const inode = this.inode(path);
    return inode.cache.slice(0, inode.size);
  }

  /** Replaces a file's content, in the cache and on the platter, and makes its name durable. */
  writeFile(path: string, bytes: Uint8Array): void {
    const { folder, name } = this.place(path);
    let node = folder.names.get(name);
    if (!(node instanceof Inode)) {
      node = new Inode();
      folder.names.set(name, node);
    }
    folder.durable.set(name, node);
    node.overwrite(bytes);
  }

  /** Makes a folder and its parents, durably. */
  makeFolder(path: string): void {
    const parts = split(path);
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const { folder, name } = this.place(parts.slice(0, depth).join("/"));
      const node = folder.names.get(name) ?? new Folder();
      folder.names.set(name, node);
      folder.durable.set(name, node);
    }
  }

  /** Deletes a file, in the cache and on the platter. */
  deleteFile(path: string): void {
    const { folder, name } = this.place(path);
    folder.names.delete(name);
    folder.durable.delete(name);
  }

  /** Flips bits of one byte, as rot does. */
  rot(path: string, byte: number, mask = 0xff): void {
    const bytes = this.readFile(path);
    if (byte >= bytes.byteLength) throw new Error(`"${path}" ends before byte ${byte}`);
    bytes[byte]! ^= mask;
    this.writeFile(path, bytes);
  }

  /** The same while a process runs: bytes that are at risk stay at risk. */
  flip(path: string, byte: number, mask: number): void {
    this.inode(path).flip(byte, mask);
  }

  /** Synced bytes of a file before the zeros at its end. */
  usedSizeOf(path: string): number {
    return this.inode(path).usedSize();
  }

  /** Completes the sync of a file, in its right or in a wrong place. */
  landFlight(path: string, inode: Inode, flight: Flight): void {
    // A segment keeps the path of the spare file that it was.
    if (this.misdirectNext && path.includes("/wal/") && !path.endsWith("/mark")) {
      this.#misdirection = inode.misland(flight, this.#options.random);
      if (this.#misdirection === undefined) inode.land(flight);
      else this.misdirectNext = false;
      return;
    }
    const wrong = this.#misdirection;
    if (wrong?.inode === inode) {
      wrong.syncsSince += 1;
      for (const { sectors } of inode.flights.slice(0, inode.flights.indexOf(flight) + 1))
        for (const sector of sectors.keys()) wrong.rewritten.add(sector);
    }
    inode.land(flight);
  }

  /** Another disk with the same content and the same bytes at risk; no process runs on it. */
  clone(options: Partial<DiskOptions> = {}): SimulatedDisk {
    const copy = new SimulatedDisk({ ...this.#options, ...options });
    copy.capacityBytes = this.capacityBytes;
    copy.#root = copyFolder(this.#root, new Map());
    return copy;
  }

  /** Counts a change; past the limit of {@link haltAfter} the process ends here. */
  tick(process: Process): void {
    this.operations += 1;
    if (this.#halt === undefined || this.operations < this.#halt.atOperation) return;
    const { tell } = this.#halt;
    this.killProcess();
    tell();
    checkAlive(process);
  }

  /** Ends a sync in the way the faults say; `land` and `lose` change the platter. */
  finish(
    path: string,
    process: Process,
    outcome: { land(): void; lose(reaches: () => boolean): void },
  ): Promise<void> {
    const fate = this.faults.sync?.(path) ?? "done";
    return new Promise((resolve, reject) => {
      const complete = (): void => {
        if (!process.isAlive) return;
        if (fate === "failed") {
          outcome.lose(() => this.#options.random.below(2) === 0);
          reject(failure("sync", path, "EIO"));
        } else if (fate === "lied") {
          resolve();
        } else {
          outcome.land();
          resolve();
        }
      };
      if (fate === "stalled") this.#stalled.push(complete);
      else if (this.#options.schedule === undefined) queueMicrotask(complete);
      else this.#options.schedule(complete, path);
    });
  }

  /** The same for a sync that blocks; it cannot stall. */
  finishNow(path: string, outcome: { land(): void; lose(reaches: () => boolean): void }): void {
    const fate = this.faults.sync?.(path);
    if (fate !== "failed") {
      if (fate !== "lied") outcome.land();
      return;
    }
    outcome.lose(() => this.#options.random.below(2) === 0);
    throw failure("sync", path, "EIO");
  }

  /** Bytes of all files, also of those that are being written under a name that may be lost. */
  usedBytes(): number {
    const seen = new Set<Node>();
    const count = (node: Node): number => {
      if (seen.has(node)) return 0;
      seen.add(node);
      if (node instanceof Inode) return node.size;
      return [...node.names.values()].reduce((sum, child) => sum + count(child), 0);
    };
    return count(this.#root);
  }

  /** Bytes by which growing by so much would exceed the disk; 0 or less when they fit. */
  excess(growth: number): number {
    if (this.capacityBytes === Number.POSITIVE_INFINITY) return 0;
    return this.usedBytes() + growth - this.capacityBytes;
  }

  /** The folder that holds a path's last name. */
  place(path: string): { readonly folder: Folder; readonly name: string } {
    const parts = split(path);
    const name = parts.pop() ?? "";
    const folder = this.#walk(parts);
    if (!(folder instanceof Folder)) throw failure("find", path, "ENOENT");
    return { folder, name };
  }

  find(path: string): Node | undefined {
    return this.#walk(split(path));
  }

  #walk(parts: readonly string[]): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const part of parts) {
      node = node instanceof Folder ? node.names.get(part) : undefined;
    }
    return node;
  }

  inode(path: string): Inode {
    const node = this.find(path);
    if (!(node instanceof Inode)) throw failure("open", path, "ENOENT");
    return node;
  }

  #cutFolder(folder: Folder, path: string, decide: FateDecision): void {
    const { random, tearsWholeSectors = false } = this.#options;
    const nodes = new Map<Node, string>();
    for (const [name, node] of [...folder.names, ...folder.durable]) nodes.set(node, name);
    for (const { added } of folder.pending) {
      if (added !== undefined && !nodes.has(added[1])) nodes.set(added[1], added[0]);
    }
    for (const [node, name] of nodes) {
      const own = path === "" ? name : `${path}/${name}`;
      if (node instanceof Folder) this.#cutFolder(node, own, decide);
      else node.cutPower(random, (sector) => decide({ path: own, sector }), tearsWholeSectors);
    }
    folder.cutPower((name) => decide({ path: `${path}/${name}`, sector: undefined }) === "kept");
  }
}

/** Power cuts of several temperaments: with a fair coin a long run of losses would be rare. */
const MIXTURES: readonly (readonly SectorFate[])[] = [
  ["dropped"],
  ["kept"],
  ["kept", "dropped"],
  ["kept", "dropped", "zeroed", "garbled"],
  ["zeroed", "garbled"],
  ["kept", "kept", "kept", "kept", "garbled"],
];

function split(path: string): string[] {
  const parts: string[] = [];
  for (const part of path.split("/")) if (part !== "" && part !== ".") parts.push(part);
  return parts;
}

function checkAlive(process: Process): void {
  if (!process.isAlive) throw new StorageError("Cannot use the disk: the process is gone");
}

function failure(action: string, path: string, code: string): StorageError {
  const cause = Object.assign(new Error(code), { code });
  return new StorageError(`Cannot ${action} "${path}": ${code}`, { cause });
}

function copyFolder(folder: Folder, seen: Map<Node, Node>): Folder {
  const copy = new Folder();
  const copyOf = (node: Node): Node => {
    const known = seen.get(node);
    if (known !== undefined) return known;
    const made = node instanceof Inode ? node.copy() : copyFolder(node, seen);
    seen.set(node, made);
    return made;
  };
  for (const [name, node] of folder.names) copy.names.set(name, copyOf(node));
  for (const [name, node] of folder.durable) copy.durable.set(name, copyOf(node));
  for (const { removed, added } of folder.pending) {
    const addedCopy = added === undefined ? undefined : ([added[0], copyOf(added[1])] as const);
    copy.pending.push({ removed, added: addedCopy });
  }
  return copy;
}

class SimulatedFiles implements FileSystem {
  readonly #disk: SimulatedDisk;
  readonly #process: Process;

  constructor(disk: SimulatedDisk, process: Process) {
    this.#disk = disk;
    this.#process = process;
  }

  makeDirectory(path: string): void {
    const parts = split(path);
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const { folder, name } = this.#disk.place(parts.slice(0, depth).join("/"));
      if (folder.names.has(name)) continue;
      this.#change();
      folder.change({ removed: undefined, added: [name, new Folder()] });
    }
  }

  list(path: string): readonly string[] {
    checkAlive(this.#process);
    const node = this.#disk.find(path);
    return node instanceof Folder ? [...node.names.keys()].sort() : [];
  }

  exists(path: string): boolean {
    checkAlive(this.#process);
    return this.#disk.find(path) !== undefined;
  }

  open(path: string, mode: "read" | "write"): OpenFile {
    checkAlive(this.#process);
    if (mode === "write" && this.#disk.find(path) === undefined) {
      const { folder, name } = this.#disk.place(path);
      this.#change();
      folder.change({ removed: undefined, added: [name, new Inode()] });
    }
    return new SimulatedFile(this.#disk, this.#process, { path, inode: this.#disk.inode(path) });
  }

  rename(from: string, to: string): void {
    const source = this.#disk.place(from);
    const target = this.#disk.place(to);
    const node = source.folder.names.get(source.name);
    if (node === undefined) throw failure("rename", from, "ENOENT");
    if (source.folder !== target.folder) throw failure("rename", from, "EXDEV");
    this.#change();
    source.folder.change({ removed: source.name, added: [target.name, node] });
  }

  remove(path: string): void {
    checkAlive(this.#process);
    if (this.#disk.find(path) === undefined) return;
    const { folder, name } = this.#disk.place(path);
    this.#change();
    folder.change({ removed: name, added: undefined });
  }

  async syncDirectory(path: string): Promise<void> {
    const folder = this.#disk.find(path);
    if (!(folder instanceof Folder)) throw failure("sync", path, "ENOENT");
    this.#change();
    const through = folder.issue();
    await this.#disk.finish(path, this.#process, {
      land: () => folder.land(through),
      lose: () => {},
    });
  }

  lock(path: string): { release(): void } {
    checkAlive(this.#process);
    const { locks } = this.#process;
    if (locks.has(path)) throw new LockedError(`Cannot open the folder: "${path}" is held`);
    locks.add(path);
    return { release: () => void locks.delete(path) };
  }

  #change(): void {
    checkAlive(this.#process);
    this.#disk.tick(this.#process);
  }
}

class SimulatedFile implements OpenFile {
  readonly path: string;
  readonly #disk: SimulatedDisk;
  readonly #process: Process;
  readonly #inode: Inode;
  #isClosed = false;

  constructor(disk: SimulatedDisk, process: Process, file: { path: string; inode: Inode }) {
    this.#disk = disk;
    this.#process = process;
    this.path = file.path;
    this.#inode = file.inode;
    process.openFiles.add(this);
  }

  size(): number {
    this.#check();
    return this.#inode.size;
  }

  read(position: number, target: Uint8Array): number {
    this.#check();
    const { cache, size } = this.#inode;
    const bytes = cache.subarray(
      Math.min(position, size),
      Math.min(position + target.length, size),
    );
    target.set(bytes);
    return bytes.byteLength;
  }

  write(position: number, bytes: Uint8Array): void {
    this.#check();
    this.#disk.tick(this.#process);
    const fault = this.#disk.faults.write?.(this.path, position, bytes.byteLength);
    if (fault !== undefined) throw fault;
    const growth = Math.max(0, position + bytes.byteLength - this.#inode.size);
    const excess = growth === 0 ? 0 : this.#disk.excess(growth);
    if (excess <= 0) this.#inode.write(position, bytes);
    else {
      // A full disk takes what still fits.
      this.#inode.write(position, bytes.subarray(0, Math.max(0, bytes.byteLength - excess)));
      throw failure("write", this.path, "ENOSPC");
    }
  }

  sync(): Promise<void> {
    try {
      this.#check();
      this.#disk.tick(this.#process);
    } catch {
      return new Promise(() => {}); // A sync of a killed process never ends.
    }
    const inode = this.#inode;
    const flight = inode.issue();
    return this.#disk.finish(this.path, this.#process, {
      land: () => this.#disk.landFlight(this.path, inode, flight),
      lose: (reaches) => inode.lose(flight, reaches),
    });
  }

  syncNow(): void {
    this.#check();
    this.#disk.tick(this.#process);
    const flight = this.#inode.issue();
    this.#disk.finishNow(this.path, {
      land: () => this.#disk.landFlight(this.path, this.#inode, flight),
      lose: (reaches) => this.#inode.lose(flight, reaches),
    });
  }

  truncate(size: number): void {
    this.#check();
    this.#disk.tick(this.#process);
    this.#inode.truncate(size);
  }

  close(): void {
    if (!this.#process.isAlive) return;
    if (this.#isClosed) throw failure("close", this.path, "EBADF");
    this.#isClosed = true;
    this.#process.openFiles.delete(this);
  }

  #check(): void {
    checkAlive(this.#process);
    if (this.#isClosed) throw failure("use", this.path, "EBADF");
  }
}
