/**
 * Questions that came through the public methods of a RaftConsensusManager, and wait for the
 * answer that consensus gives.
 *
 * @module
 */

import type { Clock } from "../../platform/clock.ts";
import type { RaftMessage } from "../../raft/message.ts";

/** What consensus answers. */
export type Answer = Extract<RaftMessage, { type: "VOTE_RESPONSE" | "APPEND_ENTRIES_RESPONSE" }>;

type Waiting = (answer: Answer | undefined) => void;

/** Open questions, by type of the answer and asker; those of one asker are answered in order. */
export class OpenQuestions {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<string, Waiting[]>();

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** Waits for an answer; undefined when none comes in time. */
  ask(type: Answer["type"], asker: string): Promise<Answer | undefined> {
    const key = `${type} ${asker}`;
    return new Promise((resolve) => {
      const end: Waiting = (answer) => {
        cancel();
        const others = (this.#waiting.get(key) ?? []).filter((one) => one !== end);
        if (others.length === 0) this.#waiting.delete(key);
        else this.#waiting.set(key, others);
        resolve(answer);
      };
      const cancel = this.#clock.setTimer(this.#timeoutMs, () => end(undefined));
      this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), end]);
    });
  }

  /** Whether a message of consensus was the answer to one of them. */
  answer(message: RaftMessage): boolean {
    if (message.type !== "VOTE_RESPONSE" && message.type !== "APPEND_ENTRIES_RESPONSE")
      return false;
    const [first] = this.#waiting.get(`${message.type} ${message.to}`) ?? [];
    first?.(message);
    return first !== undefined;
  }

  close(): void {
    for (const end of [...this.#waiting.values()].flat()) end(undefined);
  }
}
