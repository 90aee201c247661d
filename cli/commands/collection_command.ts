/**
 * `cstore collection`: which collections there are, and who writes each.
 *
 * @module
 */

import { listCollections } from "../../src/client/collection/catalog_client.ts";
import type { CollectionSettingsOptions } from "../../src/mod.ts";
import type { CollectionInfo } from "../../src/protocol/wire/reply.ts";
import { conflictOption, modeOption } from "../mode_options.ts";
import { choiceOption, flagOption, type RawOptions, textOption } from "../options.ts";
import { print, printJson, table, UsageError } from "../output.ts";
import { use } from "./data_command.ts";

const ACTIONS = ["list", "show", "create", "drop"] as const;

/** Lists, shows, makes or drops collections. */
export async function runCollection(words: readonly string[], options: RawOptions): Promise<void> {
  const [given, name] = words;
  const action = ACTIONS.find((known) => known === given);
  if (action === undefined) {
    const what = given === undefined ? "Name an action" : `Unknown action "${given}"`;
    throw new UsageError(what, "Use list, show, create or drop");
  }
  if (action !== "list" && name === undefined) throw new UsageError("Name the collection");
  await use(options, async (database) => {
    if (action === "create") {
      const isNew = await database.createCollection(String(name), settingsOf(options));
      if (!isNew) print(`"${name}" is there already, with these settings`);
    }
    if (action === "drop" && !(await database.dropCollection(String(name)))) {
      throw new UsageError(`There is no collection "${name}"`);
    }
    const all = await listCollections(database.client, action === "list" ? undefined : name);
    if (action === "drop") return;
    if (action === "show" && all.length === 0) {
      throw new UsageError(`There is no collection "${name}"`);
    }
    if (flagOption(options, "json")) printJson({ collections: all });
    else print(table(["COLLECTION", "DOCUMENTS", "MODE", "CONFLICT"], all.map(rowOf)));
  });
}

/** What a rule for conflicts is made of; the strategy has a usual value. */
const RULE_OPTIONS = ["conflict", "removal", "resolver", "priorities"];

function settingsOf(options: RawOptions): CollectionSettingsOptions | undefined {
  const isRuled = RULE_OPTIONS.some((name) => options[name] !== undefined);
  const conflict = isRuled ? conflictOption(options) : undefined;
  const validator = textOption(options, "validator");
  const settings: CollectionSettingsOptions = {
    ...(textOption(options, "mode") !== undefined && { mode: modeOption(options) }),
    ...(conflict !== undefined && { conflict }),
    ...(textOption(options, "ids") !== undefined && {
      ids: choiceOption(options, "ids", {
        allowed: ["uuidv7", "autoIncrement"],
        fallback: "uuidv7",
      }),
    }),
    ...(validator !== undefined && { validator }),
  };
  return Object.keys(settings).length === 0 ? undefined : settings;
}

function rowOf({ name, count, settings }: CollectionInfo): string[] {
  const { mode = "MASTER_SLAVE", conflict } = settings ?? {};
  const rule = conflict === undefined ? "-" : Object.values(conflict).flat().join(" ");
  return [name, String(count), mode.toLowerCase().replace("_", "-"), rule];
}
