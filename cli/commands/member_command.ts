/**
 * `cstore cluster init`, and the changes of the members: `add`, `remove`, `replace`,
 * `recover`, `role`.
 *
 * @module
 */

import { MembershipError, OverloadedError } from "../../src/base/errors.ts";
import { parseAddresses } from "../../src/client/remote_database.ts";
import { initializeCluster } from "../../src/node/recovery/initialize.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import type { MembersReply } from "../../src/protocol/wire/reply.ts";
import type { MembershipRequest } from "../../src/protocol/wire/request.ts";
import {
  DEFAULT_DATA,
  durationOption,
  flagOption,
  newAddressOption,
  type RawOptions,
  textOption,
} from "../options.ts";
import { print, printJson, table, UsageError } from "../output.ts";
import { addressesOf } from "./cluster_command.ts";
import { viewCluster, withDatabase } from "./cluster_view.ts";

/** Makes a folder the first node of a new cluster. */
export async function clusterInit(options: RawOptions): Promise<void> {
  const id = textOption(options, "id") ?? "n1";
  const address = newAddressOption(options);
  const dataDirectory = textOption(options, "data") ?? DEFAULT_DATA;
  const node = { id, address, dataDirectory };
  const { clusterId } = await initializeCluster(systemPlatform(), node);
  if (flagOption(options, "json")) {
    printJson({ clusterId, ...node });
    return;
  }
  print(`cluster ${clusterId} begins in ${dataDirectory} with node ${id} at ${address}`);
  print(`Start it:       cstore node --data ${dataDirectory}`);
  print(`Let others in:  cstore node --join ${address} --listen HOST:PORT --data DIR`);
}

type ChangeRequest = Exclude<MembershipRequest, { readonly action: "join" }>;

/** Sends a change to the leader, prints the members after it, and the next steps. */
export async function clusterChange(words: readonly string[], options: RawOptions): Promise<void> {
  const request = requestOf(words, flagOption(options, "standby"));
  const addresses = addressesOf(options);
  const timeoutMs = durationOption(options, "timeout", 15_000);
  if (request.action === "recover") await checkIsDown(request.id, addresses);
  const changed = await ask(request, addresses, timeoutMs);
  if (flagOption(options, "json")) {
    printJson({ ...request, ...changed });
    return;
  }
  print(`${headOf(request, changed)}, entry ${changed.index}`);
  print();
  const rows = changed.members.map(({ id, address, role }) => [id, address, role]);
  print(table(["id", "address", "member"], rows));
  print();
  for (const line of nextSteps(request, { changed, addresses })) print(line);
}

/** A node that runs has its folder: to recover it would throw that away. */
async function checkIsDown(id: string, addresses: string): Promise<void> {
  const { members } = await viewCluster(parseAddresses(addresses), LOOK_MS);
  if (members.find((member) => member.id === id)?.state !== "healthy") return;
  throw new MembershipError(`Cannot recover "${id}": it is up, with its folder`, {
    remedy: "Stop it first, if its folder is to be given up",
  });
}

const LOOK_MS = 2000;

/** One change at a time: while another one is under way, this one is requested again. */
async function ask(
  request: ChangeRequest,
  addresses: string,
  timeoutMs: number,
): Promise<MembersReply> {
  const endMs = systemClock.nowMs() + timeoutMs;
  return await withDatabase(addresses, timeoutMs, async (database) => {
    while (true) {
      try {
        return await database.cluster(request);
      } catch (error) {
        const isBusy = error instanceof OverloadedError;
        if (!isBusy || systemClock.nowMs() + error.retryAfterMs > endMs) throw explain(error);
        await sleep(systemClock, error.retryAfterMs);
      }
    }
  });
}

/** Adds a remedy to a refusal that names none. */
function explain(error: unknown): unknown {
  if (!(error instanceof MembershipError) || error.remedy !== undefined) return error;
  const remedy =
    "`cstore cluster status` shows the members, who is up, and how far learners are; nothing was changed";
  return new MembershipError(error.message, { remedy, cause: error });
}

function requestOf(words: readonly string[], standby: boolean): ChangeRequest {
  const [action = "", id, second] = words;
  if (id === undefined) throw missing(action, "Name the member");
  switch (action) {
    case "add":
      if (second === undefined) throw missing(action, "Name the address that others reach it at");
      return { action, id, address: second, standby };
    case "replace":
      if (second === undefined) throw missing(action, "Name the member that takes its place");
      return { action, id, by: second };
    case "role":
      if (second === undefined) throw missing(action, "Name the role: voter or standby");
      return { action, id, role: second };
    case "remove":
    case "recover":
      return { action, id };
    default:
      throw new UsageError(`Unknown action "${action}"`);
  }
}

function missing(action: string, message: string): UsageError {
  const examples: Readonly<Record<string, string>> = {
    add: "n4 10.0.0.4:7001",
    replace: "n3 n4",
    role: "n4 standby",
  };
  return new UsageError(
    message,
    `For example: cstore cluster ${action} ${examples[action] ?? "n4"}`,
  );
}

function headOf(request: ChangeRequest, { members }: MembersReply): string {
  const { id } = request;
  const role = members.find((member) => member.id === id)?.role ?? "";
  switch (request.action) {
    case "add":
      return `added ${id} as a ${role}`;
    case "remove":
      return `removed ${id}`;
    case "replace":
      return `${request.by} votes in place of ${id}, which was removed`;
    case "recover":
      return `${id} may begin anew with an empty folder, as a ${role}`;
    default:
      return `${id} is a ${role}`;
  }
}

/** The operator's next steps. */
function nextSteps(
  request: ChangeRequest,
  context: { readonly changed: MembersReply; readonly addresses: string },
): readonly string[] {
  const { action, id } = request;
  const { changed, addresses } = context;
  const member = changed.members.find((other) => other.id === id);
  const seeds = changed.members.filter((other) => other.id !== id && other.role === "voter");
  const join = seeds.map(({ address }) => address).join(",") || addresses;
  const standby = member?.role === "standby" ? " --standby" : "";
  const start = `cstore node --id ${id} --listen ${member?.address} --join ${join}${standby} --data DIR`;
  switch (action) {
    case "add":
      return [`Start it with an empty folder:  ${start}`];
    case "recover":
      return [`Empty its folder, then start it:  ${start}`];
    case "remove":
    case "replace":
      return [`${id} ends with code 4 when it hears of this. Its folder is refused from now on.`];
    default:
      if (member?.role !== "learner") return [];
      return ["It votes as soon as it has caught up: see cstore cluster status"];
  }
}
