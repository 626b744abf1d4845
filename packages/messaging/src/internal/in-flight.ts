/** Counts what is not settled yet, and tells when nothing is. */
export class InFlight {
  #count = 0
  #whenNone: (() => void)[] = []
  /** One for all. */
  readonly #resolved = (value: unknown): unknown => {
    this.#settled()

    return value
  }
  readonly #rejected = (error: unknown): never => {
    this.#settled()
    throw error
  }

  get count(): number {
    return this.#count
  }

  /** To be handed on in the place of `work`: a failure that nobody waits for is to be seen as an unhandled rejection. */
  add<T>(work: Promise<T>): Promise<T> {
    this.#count += 1

    return work.then(this.#resolved as (value: T) => T, this.#rejected)
  }

  async none(): Promise<void> {
    while (this.#count > 0) await new Promise<void>((resolve) => this.#whenNone.push(resolve))
  }

  #settled(): void {
    this.#count -= 1
    if (this.#count === 0) for (const resolve of this.#whenNone.splice(0)) resolve()
  }
}
