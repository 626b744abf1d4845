/** Something that was made from what a file says. */
interface Part {
  /** What the file said. */
  readonly said: string
  /** The other parts it was made with. */
  readonly uses: readonly unknown[]
  readonly thing: unknown
  close(): unknown
}

/**
 * What was made from one file, by its place in it. The next file's parts take over those of which the same is said, with
 * all that they remember; what neither has any longer is closed.
 */
export class Parts {
  readonly #made = new Map<string, Part>()
  readonly #before: ReadonlyMap<string, Part>

  constructor(before?: Parts) {
    this.#before = before === undefined ? new Map() : new Map(before.#made)
  }

  /**
   * The thing of this place, made by the first who asks for it: that of before, if it was made from the same words and
   * with the same `uses`, else a new one.
   */
  async keepOrMake<T>(
    place: string,
    said: unknown,
    uses: readonly unknown[],
    make: () => T | PromiseLike<T>,
    close: (thing: T) => unknown = () => undefined,
  ): Promise<T> {
    const words = JSON.stringify(said)
    const before = this.#made.get(place) ?? this.#before.get(place)
    if (before?.said === words && before.uses.every((used, index) => used === uses[index])) {
      this.#made.set(place, before)
      return before.thing as T
    }

    const thing = await make()
    this.#made.set(place, { said: words, uses, thing, close: () => close(thing) })
    return thing
  }

  /** Closes all, but what `still` has too, the last made first. */
  async close(still?: Parts): Promise<void> {
    const kept = still === undefined ? new Set() : new Set(still.#made.values())
    for (const part of [...this.#made.values()].reverse()) if (!kept.has(part)) await part.close()
  }
}
