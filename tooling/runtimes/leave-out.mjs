// A setup file of vitest: skips the tests that left-out.mjs names.

import { beforeEach, inject } from 'vitest'

const entries = inject('leftOut')

beforeEach(({ task, skip }) => {
  const name = fullName(task)
  const entry = entries.find(({ file, test }) => test === name && task.file.filepath.endsWith(file))
  if (entry !== undefined) skip(entry.reason)
})

/** As reports write it: the names of the suites around it, then its own. */
function fullName(task) {
  const names = [task.name]
  for (let suite = task.suite; suite?.name; suite = suite.suite) {
    if (suite !== task.file) names.unshift(suite.name)
  }
  return names.join(' ')
}
