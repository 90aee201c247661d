/**
 * `cstore cluster upgrade status` and `cstore cluster upgrade enable`: the rules by which the log
 * is applied.
 *
 * @module
 */

import type { RulesReply } from "../../src/protocol/wire/reply.ts";
import { durationOption, flagOption, type RawOptions } from "../options.ts";
import { print, printJson, table, tell, UsageError } from "../output.ts";
import { addressesOf } from "./cluster_command.ts";
import { withDatabase } from "./cluster_view.ts";

/** Shows the rules, or raises them. */
export async function clusterUpgrade(
  action: string | undefined,
  options: RawOptions,
): Promise<void> {
  if (action !== "status" && action !== "enable") {
    throw new UsageError(
      action === undefined ? "Name the action" : `Unknown action "${action}"`,
      "For example: cstore cluster upgrade status, or cstore cluster upgrade enable",
    );
  }
  const timeoutMs = durationOption(options, "timeout", 5000);
  const request = { action: action === "enable" ? "upgrade" : "rules" } as const;
  const reply = await withDatabase(addressesOf(options), timeoutMs, (database) =>
    database.cluster(request),
  );
  if (flagOption(options, "json")) printJson(reply);
  else printRules(reply);
}

function printRules({ rules, newest, members }: RulesReply): void {
  print(`rules ${rules}, the newest that the leader's build knows is ${newest}`);
  print();
  const rows = members.map((member) => {
    return [member.id, member.isUp ? "up" : "down", String(member.newest ?? "-")];
  });
  print(table(["id", "state", "knows"], rows));
  if (rules >= newest) return;
  const behind = members.filter((member) => !member.isUp || (member.newest ?? 0) < newest);
  if (behind.length === 0)
    tell("`cstore cluster upgrade enable` raises them; there is no way back");
  else tell(`Still to be started with this build: ${behind.map(({ id }) => id).join(", ")}`);
}
