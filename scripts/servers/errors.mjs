/** Something went wrong that the reader can do something about: what happened, and what to do. */
export class Failure extends Error {
  /**
   * @param {string} what
   * @param {string} advice
   * @param {ErrorOptions} [options]
   */
  constructor(what, advice, options) {
    super(what, options)
    this.name = 'Failure'
    this.advice = advice
  }
}

/** The command line or the environment asks for something that does not exist. */
export class UsageError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message)
    this.name = 'UsageError'
  }
}
