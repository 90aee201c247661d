/**
 * Client: sessions, request numbers, routing to the leader, retries as the errors allow.
 *
 * A write is sent again - after a lost connection, a change of leader, an unknown outcome - with
 * the same session and request number, so that it is applied at most once; the promise rejects
 * only when its deadline has passed or the answer is final.
 *
 * @module
 */

import { parseEndpoint } from "../../base/address.ts";
import { ByteWriter } from "../../base/bytes.ts";
import {
  ClosedError,
  type CStoreError,
  HandshakeError,
  NotLeaderError,
  OverloadedError,
  SessionExpiredError,
  UnreachableError,
} from "../../base/errors.ts";
import { CLIENT_QUEUE_MAX } from "../../base/limits.ts";
import { POLL_INTERVAL_MS } from "../../base/timing.ts";
import { type Platform, systemPlatform } from "../../platform/platform.ts";
import { readReplies } from "../../protocol/wire/client_message.ts";
import type { LeaderNews } from "../../protocol/wire/leader_message.ts";
import { Backoff, NEAR } from "./backoff.ts";
import { ChannelList } from "./channel_list.ts";
import {
  type ClientOptions,
  type ClientRequest,
  isAboutCluster,
  isSentAgain,
  LEFT_MAX_MS,
  OPEN_SESSION,
  outcomeOf,
  type Queued,
  queueFull,
  randomSession,
  untilUp,
} from "./client_options.ts";
import { EarliestTimer } from "./earliest_timer.ts";
import { chooseChannel, likelyNext, nobodyReached } from "./leader_routing.ts";
import {
  type ChannelHandlers,
  LocalChannel,
  type LocalEnd,
  type NodeChannel,
  TcpChannel,
} from "./node_channel.ts";
import {
  type Answer,
  bytesAgain,
  type PendingRequest,
  PendingRequests,
  tooLate,
  writeWhole,
} from "./pending_requests.ts";

const DEFAULT_TIMEOUT_MS = 10_000;

/** A connection to a cluster, or to a node in this process. */
export class Client {
  readonly platform: Platform;
  /** Longest wait for an answer, in milliseconds, unless a request has its own. */
  readonly timeoutMs: number;
  /** The first cluster that a node named: nodes of others are refused. */
  #clusterId: string;
  readonly #channels = new ChannelList((address) => this.#openChannel(address));
  readonly #pending = new PendingRequests();
  /** Requests that wait for a session, or for room in the window. */
  #queue: Queued[] = [];
  #sessionId = 0;
  /** The session of writes that any node takes: nobody has to open it. */
  readonly #ownSession: number;
  /** Number of the first request of the present session. */
  #sessionFirst = 0;
  #isOpeningSession = false;
  #leader = { term: 0, nodeId: "", address: "" };
  #lastError: CStoreError | undefined;
  #isClosed = false;
  readonly #looks: EarliestTimer;
  readonly #backoff: Backoff;
  readonly #onLost: NonNullable<ClientOptions["onLost"]>;
  #replyTerm = 0;
  /** Highest committed sequence number by then, in that term. */
  #committed = 0;
  #heardMs = 0;
  #anyIndex = 0;

  private constructor(options: ClientOptions) {
    this.platform = options.platform ?? systemPlatform();
    this.timeoutMs = (options.timeoutMs ?? DEFAULT_TIMEOUT_MS) || 0;
    this.#clusterId = options.clusterId ?? "";
    this.#onLost = options.onLost ?? (() => undefined);
    this.#ownSession = randomSession(this.platform.random);
    this.#backoff = new Backoff(this.platform.random);
    this.#looks = new EarliestTimer(this.platform.clock, () => this.#look());
  }

  /** Connects to the nodes at `addresses`; resolves when one of them answers. */
  static async connect(addresses: readonly string[], options: ClientOptions = {}): Promise<Client> {
    const client = new Client(options);
    for (const address of new Set(addresses)) client.#channels.give(address);
    try {
      await untilUp(client.platform.clock, client.timeoutMs, {
        isUp: () => client.connected.length > 0,
        refusal: () => client.#lastError,
        late: client.#unreachable,
      });
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  /** Talks to a node in this process. */
  static local(
    nodeId: string,
    open: (onReplies: (body: Uint8Array) => void) => LocalEnd,
    options: ClientOptions = {},
  ): Client {
    const client = new Client(options);
    const end = open((body) => client.#onReplies(channel, body));
    const channel: LocalChannel = new LocalChannel(nodeId, end);
    client.#channels.give(channel.address, channel);
    return client;
  }

  /** The leader as far as this client knows; empty texts while it does not. */
  get leader(): { readonly term: number; readonly nodeId: string; readonly address: string } {
    return this.#leader;
  }

  /** Asks for a session unless there is one; whether there is. */
  askForSession(): boolean {
    if (this.#sessionId === 0) this.#openSession();
    return this.#sessionId !== 0;
  }

  /** Channels that are up. */
  get connected(): readonly NodeChannel[] {
    return this.#channels.up;
  }

  /** Requests without an answer. */
  get inFlight(): number {
    return this.#pending.count + this.#queue.length;
  }

  /** Executes a request and gives a copy of its payload. */
  execute(request: ClientRequest): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const done = ({ payload }: Answer): void => resolve(payload?.slice() ?? new Uint8Array(0));
      this.submit(request, done, reject);
    });
  }

  /** Executes a request; the answer's payload is valid during `resolve` only. */
  submit(
    request: ClientRequest,
    resolve: (answer: Answer) => void,
    reject: (error: CStoreError) => void,
  ): void {
    if (this.#isClosed) {
      reject(new ClosedError("Cannot send the request: the client is closed"));
      return;
    }
    const leftMs = (request.timeoutMs ?? this.timeoutMs) || 0;
    const deadlineMs = this.platform.clock.nowMs() + leftMs;
    const needsSession = request.kind === "COMMAND" && this.#sessionId === 0;
    if (needsSession || this.#queue.length > 0 || !this.#pending.hasRoom) {
      if (this.#queue.length >= CLIENT_QUEUE_MAX) return reject(queueFull());
      this.#queue.push({ request, deadlineMs, resolve, reject });
      this.#looks.by(deadlineMs);
      if (needsSession) this.#openSession();
      return;
    }
    this.#begin({ request, deadlineMs, resolve, reject }, leftMs);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#looks.stop();
    const closed = () => new ClosedError("Cannot answer: the client was closed meanwhile");
    for (const request of [...this.#pending.all()]) this.#reject(request, closed());
    for (const queued of this.#queue.splice(0)) queued.reject(closed());
    this.#channels.close();
  }

  #openChannel(address: string): NodeChannel {
    const handlers: ChannelHandlers = {
      up: () => this.#onUp(channel),
      down: () => this.#onDown(channel),
      leader: (news) => this.#onLeader(news),
      replies: (body) => this.#onReplies(channel, body),
      failed: (error) => {
        this.#lastError = error;
        if (this.connected.length === 0) this.#channels.reachMembers();
      },
      cluster: () => this.#clusterId,
      joined: (clusterId) => {
        this.#clusterId = clusterId;
      },
    };
    const node = { address, endpoint: parseEndpoint(address) };
    const channel: TcpChannel = new TcpChannel(node, this.platform, handlers);
    return channel;
  }

  readonly #unreachable = (): CStoreError => {
    const cause = this.#lastError;
    if (cause instanceof HandshakeError) return cause;
    return nobodyReached(this.#channels.all, { timeoutMs: this.timeoutMs, cause });
  };

  #openSession(): void {
    if (this.#isOpeningSession || !this.#pending.hasRoom) return;
    this.#isOpeningSession = true;
    const done = (): void => {
      this.#isOpeningSession = false;
    };
    this.#begin({
      request: OPEN_SESSION,
      deadlineMs: this.platform.clock.nowMs() + this.timeoutMs,
      resolve: (answer) => {
        done();
        this.#sessionId = answer.version;
        this.#sessionFirst = this.#pending.next;
        this.#drainQueue();
      },
      reject: (error) => {
        done();
        for (const queued of this.#queue.splice(0)) queued.reject(error);
      },
    });
  }

  #drainQueue(): void {
    let begun = 0;
    for (const queued of this.#queue) {
      if (!this.#pending.hasRoom) break;
      if (queued.request.kind === "COMMAND" && this.#sessionId === 0) {
        this.#openSession();
        break;
      }
      this.#begin(queued);
      begun += 1;
    }
    this.#queue.splice(0, begun);
  }

  #begin(queued: Queued, timeMs = queued.deadlineMs - this.platform.clock.nowMs()): void {
    const { request, deadlineMs } = queued;
    const number = this.#pending.next;
    const leftMs = Math.min(LEFT_MAX_MS, Math.max(1, Math.ceil(timeMs)));
    const channel = this.#channelFor(request);
    // Written straight into the frame that leaves next; a request that cannot go yet has its own.
    const frame = channel?.frame() ?? { writer: new ByteWriter(256) };
    const { writer } = frame;
    const start = writer.size;
    const head = { kind: request.kind, requestId: number % 2 ** 32, deadlineMs: leftMs };
    const acknowledgedBelow = this.#pending.lowest;
    const sessionId = request.kind === "WRITE" ? this.#ownSession : this.#sessionId;
    const place = { sessionId, requestNumber: number, acknowledgedBelow };
    try {
      writeWhole(writer, head, () => request.write(writer, place));
    } catch (error) {
      // The frame carries other requests, too.
      writer.rewind(start);
      return queued.reject(error as CStoreError);
    }
    const pending: PendingRequest = {
      number,
      kind: request.kind,
      frame,
      start,
      end: writer.size,
      deadlineMs,
      isRepeatable: request.isRepeatable ?? !isAboutCluster(request.kind),
      target: request.target,
      via: request.via,
      unanswered: channel === undefined ? 0 : 1,
      sentOn: channel,
      notBeforeMs: 0,
      early: undefined,
      lastError: undefined,
      resolve: queued.resolve,
      reject: queued.reject,
    };
    this.#pending.add(pending);
    this.#looks.by(deadlineMs);
    if (channel === undefined) this.#postpone(pending);
  }

  #route(request: PendingRequest): void {
    const channel = this.#channelFor(request);
    if (channel === undefined) return this.#postpone(request);
    request.sentOn = channel;
    channel.send(bytesAgain(request, this.#pending.lowest));
    request.unanswered += 1;
  }

  /** It is sent again after a while, or when there is news. */
  #postpone(request: PendingRequest, error?: CStoreError): void {
    const nowMs = this.platform.clock.nowMs();
    const leader = error instanceof NotLeaderError ? this.#leaderChannel : undefined;
    const isNear = leader !== undefined && leader !== request.sentOn;
    // A named time beyond the deadline would be a refusal: the remaining time serves another try.
    const leftMs = Math.max(0, request.deadlineMs - nowMs);
    const namedMs = error instanceof OverloadedError ? Math.min(error.retryAfterMs, leftMs / 2) : 0;
    if (namedMs > 0 && request.kind === "WRITE") this.#anyIndex += 1;
    request.sentOn = undefined;
    request.notBeforeMs = this.#backoff.endMs(nowMs, { isNear, namedMs });
    this.#looks.by(request.notBeforeMs);
  }

  get #leaderChannel(): NodeChannel | undefined {
    return this.connected.find(({ nodeId }) => nodeId === this.#leader.nodeId);
  }

  #channelFor({ target, via }: Pick<ClientRequest, "target" | "via">): NodeChannel | undefined {
    if (via !== undefined) return via.isUp ? via : undefined;
    const leaderId = target === "leader" ? this.#leader.nodeId : "";
    const at = chooseChannel(this.#channels.all, leaderId, this.#anyIndex);
    if (at === -1) return undefined;
    const channel = this.#channels.all[at];
    if (channel?.nodeId !== leaderId) this.#anyIndex = at;
    return channel;
  }

  #onReplies(channel: NodeChannel, body: Uint8Array): void {
    readReplies(body, {
      state: (term, committedSequence) => this.#onCommitted(term, committedSequence),
      written: ({ firstRequestId, count, firstVersion, committed }) => {
        for (let i = 0; i < count; i += 1) {
          const request = this.#pending.get((firstRequestId + i) % 2 ** 32);
          this.#resolve(request, { version: firstVersion + i, payload: undefined, committed });
        }
      },
      result: (requestId, payload) => {
        this.#resolve(this.#pending.get(requestId), {
          version: 0,
          payload,
          committed: true,
          channel,
        });
      },
      error: (requestId, error) => {
        const request = this.#pending.get(requestId);
        if (request?.sentOn === channel) this.#onError(request, error);
      },
    });
    if (this.#queue.length > 0) this.#drainQueue();
  }

  /**
   * A write answered early stays in the window, to be sent again to a next leader, until committed.
   */
  #resolve(request: PendingRequest | undefined, answer: Answer): void {
    if (request === undefined) return;
    const isAnswered = request.early !== undefined;
    if (request.target === "leader") this.#backoff.reset();
    if (answer.committed) this.#pending.remove(request);
    else {
      request.early = { term: this.#replyTerm, version: answer.version };
      this.#looks.by(this.#heardMs + POLL_INTERVAL_MS.clientConfirm);
    }
    if (!isAnswered) request.resolve(answer);
  }

  #reject(request: PendingRequest, error: CStoreError): void {
    const { early, number: requestNumber } = request;
    if (!this.#pending.remove(request)) return;
    if (early === undefined) return request.reject(error);
    if (early.term === this.#replyTerm && early.version <= this.#committed) return;
    const outcome = outcomeOf(error);
    if (outcome !== undefined) this.#onLost({ requestNumber, version: early.version, outcome });
  }

  /** Writes that the same leader has committed need no confirmation any more. */
  #onCommitted(term: number, committedSequence: number): void {
    this.#replyTerm = term;
    this.#committed = committedSequence;
    this.#heardMs = this.platform.clock.nowMs();
    while (this.#pending.count > 0) {
      const request = this.#pending.oldest();
      if (request?.early === undefined || request.early.term !== term) return;
      if (request.early.version > committedSequence) return;
      this.#pending.remove(request);
    }
  }

  #onError(request: PendingRequest, error: CStoreError): void {
    if (error.retry === "safe") request.unanswered -= 1;
    if (error instanceof NotLeaderError) this.#onNotLeader(error);
    // The remains of an earlier session say nothing about the present one.
    const isPresent = request.number >= this.#sessionFirst;
    if (error instanceof SessionExpiredError && isPresent) this.#sessionId = 0;
    if (!isSentAgain(request, error)) return this.#reject(request, error);
    request.lastError = error;
    if (request.kind === "COMMAND" && this.#sessionId === 0) this.#lastError = error;
    this.#postpone(request, error);
  }

  #onNotLeader(error: NotLeaderError): void {
    const { leaderId: nodeId, leaderAddress: address } = error;
    if (nodeId !== "") {
      this.#channels.learn({ term: this.#leader.term, nodeId, address, members: [] });
      const isNews = nodeId !== this.#leader.nodeId;
      this.#leader = { ...this.#leader, nodeId, address };
      if (isNews) this.#pending.hasten(this.#backoff.endMs(this.platform.clock.nowMs(), NEAR));
    } else {
      this.#anyIndex += 1;
      this.#leader = { ...this.#leader, nodeId: "" };
      this.#channels.reachMembers();
    }
  }

  #onLeader(news: LeaderNews): void {
    const { term, nodeId, address } = news;
    if (this.#isClosed || term < this.#leader.term) return;
    this.#channels.learn(news);
    if (nodeId === "" && term === this.#leader.term) return;
    const isNews = nodeId !== this.#leader.nodeId || term > this.#leader.term;
    this.#leader = { term, nodeId, address };
    if (isNews) this.#backoff.reset();
    if (!isNews || nodeId === "") return;
    this.#resend();
    for (const request of this.#pending.unconfirmed(term)) this.#route(request);
  }

  #onUp(channel: NodeChannel): void {
    const isAwaited = channel.nodeId === this.#leader.nodeId || this.connected.length === 1;
    this.#resend(isAwaited ? undefined : this.platform.clock.nowMs());
  }

  #onDown(channel: NodeChannel): void {
    const wasLeaders = channel.nodeId === this.#leader.nodeId;
    if (wasLeaders && !this.#leaderChannel) {
      this.#leader = { ...this.#leader, nodeId: "" };
      this.#anyIndex = likelyNext(this.#channels.all);
    }
    for (const request of [...this.#pending.all()]) {
      if (request.sentOn !== channel) continue;
      request.sentOn = undefined;
      if (!request.isRepeatable)
        this.#reject(request, new UnreachableError("Cannot answer: the connection ended"));
    }
    this.#looks.by(this.platform.clock.nowMs());
  }

  /** Sends lost requests that were to wait until `dueMs`, and those sent to a former leader. */
  #resend(dueMs = Number.POSITIVE_INFINITY): void {
    const leader = this.#leaderChannel;
    let isHeldBack = false;
    for (const request of this.#pending.all()) {
      const { sentOn, target, isRepeatable } = request;
      const isElsewhere = target === "leader" && leader !== undefined && sentOn !== leader;
      if (sentOn !== undefined && !(isElsewhere && isRepeatable)) continue;
      // Commands of a session go in order: results of later ones would keep out those before them.
      const isWaiting = sentOn === undefined && request.notBeforeMs > dueMs;
      if (request.kind === "COMMAND") isHeldBack ||= isWaiting;
      if (!isWaiting && !(isHeldBack && request.kind === "COMMAND")) this.#route(request);
    }
  }

  #look(): void {
    const nowMs = this.platform.clock.nowMs();
    this.#rejectLate(nowMs);
    if (nowMs - this.#heardMs >= POLL_INTERVAL_MS.clientConfirm) {
      this.#heardMs = nowMs;
      // Any reply carries the commit index; without traffic none comes by itself.
      for (const request of this.#pending.unconfirmed(this.#replyTerm)) this.#route(request);
    }
    this.#resend(nowMs);
    if (this.#queue.length > 0) this.#drainQueue();
    let nextMs = this.#pending.dueMs(this.#heardMs + POLL_INTERVAL_MS.clientConfirm);
    for (const { deadlineMs } of this.#queue) nextMs = Math.min(nextMs, deadlineMs);
    this.#looks.by(Math.max(nextMs, nowMs + POLL_INTERVAL_MS.clientRequests));
  }

  #rejectLate(nowMs: number): void {
    for (const request of this.#pending.all()) {
      if (request.deadlineMs > nowMs) continue;
      this.#reject(request, tooLate(request, this.#unreachable));
    }
    const isLate = (queued: Queued): boolean => queued.deadlineMs <= nowMs;
    const late = this.#queue.filter(isLate);
    if (late.length === 0) return;
    this.#queue = this.#queue.filter((queued) => !isLate(queued));
    // Without a session they wait for one; with one the window is full.
    const refusal = this.connected.length > 0 ? this.#lastError : undefined;
    const noSession = refusal?.retry === "safe" ? refusal : this.#unreachable();
    const error = this.#sessionId === 0 ? noSession : queueFull();
    for (const queued of late) queued.reject(error);
  }
}
