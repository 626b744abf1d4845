// Writes down what failed, for those who come after the run: a log of ten minutes is long, its end is what is read, and
// an error that belongs to no test is in no other report.

import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { root } from './prepare.mjs'

/** A vitest reporter; writes `[{ file, name, text }]` to the file that `MSX_FAILURES` names, beside another reporter. */
export default class FailuresReporter {
  #write

  constructor({ write = toFile } = {}) {
    this.#write = write
  }

  onTestRunEnd(modules, unhandled = []) {
    const failures = []
    for (const module of modules) {
      const file = relative(root, module.moduleId)
      for (const error of module.errors()) failures.push({ file, name: 'the file itself', text: textOf(error) })
      for (const suite of module.children.allSuites()) {
        for (const error of suite.errors()) failures.push({ file, name: suite.fullName, text: textOf(error) })
      }
      for (const test of module.children.allTests('failed')) {
        const text = (test.result().errors ?? []).map(textOf).join('\n')
        failures.push({ file, name: test.fullName, text })
      }
    }
    for (const error of unhandled) {
      const file = error.VITEST_TEST_PATH && relative(root, error.VITEST_TEST_PATH)
      const during = error.VITEST_TEST_NAME ? `, during ${error.VITEST_TEST_NAME}` : ''
      failures.push({ file, name: `${error.type ?? 'an error'} that no test has caught${during}`, text: textOf(error) })
    }
    this.#write(failures)
  }
}

function textOf(error) {
  return error.stack || `${error.name ?? 'Error'}: ${error.message}`
}

function toFile(failures) {
  if (process.env.MSX_FAILURES) writeFileSync(process.env.MSX_FAILURES, JSON.stringify(failures))
}
