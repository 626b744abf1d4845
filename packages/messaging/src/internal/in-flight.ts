/** Counts what is not settled yet, and tells when nothing is. */
export class InFlight {
  #count = 0
  #whenNone: (() => void)[] = []

  get count(): number {
    return this.#count
  }

  add<T>(work: Promise<T>): Promise<T> {
    this.#count += 1
    const done = (): void => {
      this.#count -= 1
      if (this.#count === 0) for (const resolve of this.#whenNone.splice(0)) resolve()
    }
    work.then(done, done)

    return work
  }

  async none(): Promise<void> {
    while (this.#count > 0) await new Promise<void>((resolve) => this.#whenNone.push(resolve))
  }
}
