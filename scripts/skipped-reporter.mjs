// Says at the end of a long run once more what was skipped for want of a server: the suites say so while they run, and
// nobody reads a thousand lines back.

/** What a suite prints when it skips: `SKIPPED: why`, and indented below it what to do about it. */
const notice = /^ *SKIPPED: .+(?:\n +\S.*)*/gm

/** A vitest reporter; use it beside another one. */
export default class SkippedReporter {
  #notices = new Set()
  #print

  constructor({ print = console.log } = {}) {
    this.#print = print
  }

  onUserConsoleLog({ content }) {
    for (const [text] of content.matchAll(notice)) this.#notices.add(text)
  }

  onTestRunEnd() {
    if (this.#notices.size === 0) return

    this.#print('\nNot everything was tested:')
    for (const text of [...this.#notices].sort()) this.#print(text)
    this.#print('\n  `scripts/services up` starts all of the servers.')
  }
}
