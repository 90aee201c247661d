/**
 * Planted bugs in how whole nodes carry out collections that every node writes.
 *
 * @module
 */

import type { Plant } from "./plant.ts";

const mode = "multi-master";

/** Each is caught by the simulator's seeds with clients of such collections. */
export const MASTER_NODE_PLANTS: readonly Plant[] = [
  {
    ...{ name: "masters-sent-before-sync", mode, faults: ["powerCut", "reset"] },
    about: "own operations leave, and are acknowledged, before their sync",
    file: "replication/multi_master/multi_master_driver.ts",
    find: "if (isWritten || this.#underway.length > 0) {",
    replace: "if (this.#underway.length > 0) {",
  },
  {
    ...{ name: "masters-cursor-before-sync", mode, faults: ["powerCut", "powerCutAll"] },
    about: "a node tells others of operations that are not on its disk yet",
    file: "multi_master/progress.ts",
    find: "get durable(): VersionVector {",
    replace: "get durable(): VersionVector {\n    if (this.cursor.size > 0) return this.cursor;",
  },
  {
    ...{ name: "masters-log-not-replayed", mode, faults: ["kill"] },
    about: "a node that restarts begins without the operations in its log",
    file: "node/masters/masters_core.ts",
    find: "{ store, seed, operations: operations.operations(), log: operations },",
    replace: "{ store, seed, operations: [], log: operations },",
  },
  {
    name: "masters-agreement-not-kept",
    about: "a node goes by an agreement that is not on its disk",
    file: "node/masters/masters_disk.ts",
    find: "this.#agreement = agreement;\n    await this.#write();",
    replace: "this.#agreement = agreement;",
    scenario: "a node that restarts alone",
  },
  {
    name: "masters-cut-behind-members",
    about: "operations are cut that another member does not have yet",
    file: "node/masters/masters_disk.ts",
    find: "this.#parts.log.operations.cut(meet(this.#older.cursor, ...cursors));",
    replace: "void cursors; this.#parts.log.operations.cut(meet(this.#older.cursor));",
    scenario: "a member that was away",
  },
  {
    ...{ name: "masters-repeat-forgotten", mode, faults: ["reset", "kill"] },
    about: "a repeat of a request is carried out once more",
    file: "server/masters_service.ts",
    find: "const wanted = { documents, ...(name !== undefined && { request: name }) };",
    replace: "const wanted = { documents };",
  },
  {
    name: "masters-repeat-refused",
    about: "a repeat without effect here says that nothing was done anywhere",
    file: "server/masters_service.ts",
    find: "if (request.isRepeat) throw inDoubt();",
    replace: "",
    scenario: "a repeat that",
  },
  {
    name: "masters-refusal-believed",
    about: "a node's refusal of a repeat counts for the node that was asked first",
    file: "server/masters_service.ts",
    find: "const isInDoubt = request.isRepeat && isDecided;",
    replace: "const isInDoubt = false;",
    scenario: "a repeat that",
  },
  {
    ...{ name: "masters-few-acknowledge", mode, faults: ["replace", "recoverWiped", "isolate"] },
    about: "one disk is enough for a majority",
    file: "replication/multi_master/multi_master_driver.ts",
    find: 'return ack === "all" ? this.members : Math.floor(this.members / 2) + 1;',
    replace: "return 1;",
  },
  {
    ...{ name: "masters-end-too-low", mode, faults: ["replace", "recoverWiped", "isolate"] },
    about: "the end of an incarnation is the least that any member has",
    file: "multi_master/operation/agreement_change.ts",
    find: "return [origin, Math.max(0, ...progress.map(({ cursor }) => seen(cursor, origin)))];",
    replace: "return [origin, Math.min(...progress.map(({ cursor }) => seen(cursor, origin)))];",
  },
  {
    ...{ name: "masters-not-shown-again", mode, faults: ["lagSnapshot"] },
    about: "a state from the leader's snapshot shows no documents of such collections",
    file: "node/masters/master_part.ts",
    find: "if (agreement !== this.#checked) this.#running?.shown.check();",
    replace: "",
  },
  {
    ...{ name: "masters-removal-shown", mode, faults: ["kill"] },
    about: "a document that was removed is still shown",
    file: "node/masters/shown_documents.ts",
    find: "} else if (before !== -1) store.remove(hash, before, sequence);",
    replace: "}",
  },
  {
    ...{ name: "masters-link-lost", mode, faults: ["reset", "resetAll"] },
    about: "a node that can be reached again is sent nothing more",
    file: "node/masters/master_part.ts",
    find: "const up = (nodeId: string): void => this.#running?.driver.setPeer(nodeId, true);",
    replace: "const up = (nodeId: string): void => void nodeId;",
  },
  {
    ...{ name: "masters-stopped-for-good", mode, faults: ["replace", "recoverWiped"] },
    about: "a node that must begin again with another one's state does not",
    file: "node/masters/master_part.ts",
    find: "if (master.isStopped) this.#startOver();",
    replace: "if (master.isStopped) return;",
    hasSmallLimits: true,
  },
  {
    ...{ name: "masters-void-not-logged", mode, hasSmallLimits: true },
    about: "a node that begins again keeps its old operations beside another one's state",
    file: "storage/operations/operation_log.ts",
    find: "this.#parts.append([encodeOperationBatch([])]);\n    this.#parts.table.restart();\n",
    replace: "",
  },
];
