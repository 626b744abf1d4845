/** What is asked of Consul, whoever carries it there. Every call rejects with RegistryError, and ends within a deadline. */
export interface ConsulApi {
  /** The instances of a service. With an index, Consul answers when something changed since, or after `wait`. */
  health(question: HealthQuestion, signal: AbortSignal): Promise<HealthAnswer>
  /** False: the token may not read the service, which Consul otherwise shows as one without instances. */
  mayRead(service: string, signal: AbortSignal): Promise<boolean>
  register(service: ServiceDefinition): Promise<void>
  /** Resolves also for an instance that Consul does not know. */
  deregister(id: string): Promise<void>
  /** Whether the agent has the instance. */
  knows(id: string): Promise<boolean>
  /** Reports a check as passing. False: the agent has no such check. */
  pass(checkId: string): Promise<boolean>
}

/** A query of `/v1/health/service/:service`. */
export interface HealthQuestion {
  readonly service: string
  readonly passing: boolean
  readonly tags: readonly string[]
  readonly stale: boolean
  readonly dc: string | undefined
  /** Undefined: answer at once. */
  readonly index: bigint | undefined
  /** Milliseconds. */
  readonly wait: number
}

export interface HealthAnswer {
  /** The header X-Consul-Index, as it came. */
  readonly index: string | undefined
  readonly entries: unknown
  /** Consul left something out that the token may not read. Known since 1.12. */
  readonly filtered?: boolean
}

/** The body of `/v1/agent/service/register`. */
export interface ServiceDefinition {
  readonly ID: string
  readonly Name: string
  readonly Address: string
  readonly Port: number
  readonly Tags: readonly string[]
  readonly Meta: Readonly<Record<string, string>>
  readonly Check?: CheckDefinition
}

export interface CheckDefinition {
  readonly CheckID: string
  readonly Status?: 'passing'
  readonly HTTP?: string
  readonly Interval?: string
  readonly TTL?: string
  readonly DeregisterCriticalServiceAfter?: string
}

/** How long, ms, a question that Consul answers at once may take. Without a leader an agent holds it for seven seconds. */
export const ANSWER_DEADLINE = 10_000

/** How long, ms, a question may take: Consul adds up to a sixteenth to `wait`, so that not all come back together. */
export function deadlineOf({ index, wait }: HealthQuestion): number {
  return index === undefined ? ANSWER_DEADLINE : wait + wait / 16 + ANSWER_DEADLINE
}

/** A duration as Consul reads it. */
export function goDuration(ms: number): string {
  return `${Math.max(1, Math.round(ms))}ms`
}

/** Whether a refusal says that the agent has no such service or check. Before 1.11 its status is 500. */
export function isUnknown(status: number | undefined, text: string): boolean {
  return status === 404 || (status === 500 && /unknown (service|check)|does not have associated TTL/i.test(text))
}

/** Whether an answer leaves out what the token may not read. */
export function isFiltered(headers: Readonly<Record<string, unknown>>): boolean {
  return headers['x-consul-results-filtered-by-acls'] === 'true'
}
