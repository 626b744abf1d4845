/** Counts what is not settled yet, and tells when nothing is. */
export class InFlight {
  #count = 0
  #whenNone: (() => void)[] = []
  /** One for all. */
  readonly #done = (): void => {
    this.#count -= 1
    if (this.#count === 0) for (const resolve of this.#whenNone.splice(0)) resolve()
  }

  get count(): number {
    return this.#count
  }

  add<T>(work: Promise<T>): Promise<T> {
    this.#count += 1
    work.then(this.#done, this.#done)

    return work
  }

  async none(): Promise<void> {
    while (this.#count > 0) await new Promise<void>((resolve) => this.#whenNone.push(resolve))
  }
}
