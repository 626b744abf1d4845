/** A service that is needed did not answer, or not with what was asked for. The cause is for the log only. */
export class ServiceAway extends Error {
  override readonly name = 'ServiceAway'
  readonly service: string

  constructor(service: string, cause: unknown) {
    super(`${service} did not answer`, { cause })
    this.service = service
  }

  /** Milliseconds after which a breaker or the service itself would be asked again, where one of them said so. */
  get retryAfter(): number | undefined {
    const { retryAfter } = Object(this.cause) as { retryAfter?: unknown }
    return typeof retryAfter === 'number' && retryAfter > 0 ? retryAfter : undefined
  }
}

/** What a response that was not expected says about itself. */
export async function describe(response: Response): Promise<string> {
  const text = await response.text().catch(() => '')
  return `${response.url || 'the service'} answered ${response.status}: ${text.slice(0, 200)}`
}
