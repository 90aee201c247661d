/**
 * Messages on their way out.
 *
 * @module
 */

import type { CursorMessage, MultiMasterMessage, ReseedMessage } from "./message.ts";
import type { Agreement } from "./operation/agreement.ts";
import type { Origin } from "./operation/dot.ts";
import type { PackedOperation } from "./operation/operation.ts";

/** Who sends. */
export interface MailboxParts {
  readonly node: string;
  readonly origin: Origin;
  agreement(): Agreement;
}

/** What a node has to say, until it is taken. */
export class Mailbox {
  readonly #parts: MailboxParts;
  #messages: MultiMasterMessage[] = [];

  constructor(parts: MailboxParts) {
    this.#parts = parts;
  }

  operations(to: string, operations: readonly PackedOperation[]): void {
    this.#messages.push({ ...this.#envelope(to), type: "OPERATIONS", operations });
  }

  cursor(
    to: string,
    what: Pick<CursorMessage, "cursor" | "chains" | "isPull" | "round" | "wallMs">,
  ): void {
    this.#messages.push({ ...this.#envelope(to), type: "CURSOR", ...what });
  }

  reseed(to: string, what: Pick<ReseedMessage, "reason" | "incarnation">): void {
    this.#messages.push({ ...this.#envelope(to), type: "RESEED", ...what });
  }

  take(): readonly MultiMasterMessage[] {
    const messages = this.#messages;
    this.#messages = [];
    return messages;
  }

  #envelope(to: string): Pick<CursorMessage, "from" | "to" | "origin" | "version"> {
    const { node, origin } = this.#parts;
    return { from: node, to, origin, version: this.#parts.agreement().version };
  }
}
