import { expect, test, vi } from 'vitest'
import FailuresReporter from './failures-reporter.mjs'
import { root } from './prepare.mjs'
import { secondLook } from './second-look.mjs'

const failure = { file: 'packages/retry/src/a.test.ts', name: 'waits', text: 'Error: too late\n    at somewhere' }

function look(first: { file?: string; name: string; text: string }[], second: (typeof failure)[] = []) {
  const lines: string[] = []
  const again = vi.fn((_files: string[]) => ({ passed: second.length === 0, failures: second }))
  const code = secondLook(first, { again, print: (line: string) => lines.push(line) })

  return { code, again, said: lines.join('\n') }
}

test('what passes alone does not fail the run, and is named with its error', () => {
  const { code, again, said } = look([failure, { ...failure, name: 'ends' }])

  expect(again).toHaveBeenCalledExactlyOnceWith([failure.file])
  expect(code).toBe(0)
  expect(said).toMatch(/unsteady.+\n- packages\/retry\/src\/a\.test\.ts: waits\n {4}Error: too late\n/)
  expect(said).toContain('a.test.ts: ends')
})

test('what fails alone as well fails the run', () => {
  const { code, said } = look([failure], [{ ...failure, text: 'Error: again' }])

  expect(code).toBe(1)
  expect(said).toContain('Error: too late')
  expect(said).toContain('Error: again')
})

test.each([
  ['a run that failed without a failure of a test', [], 'not a test'],
  ['an error without a file', [failure, { name: 'an error', text: 'Error: whose?' }], 'no file'],
  ['more failures than chance brings', ['a', 'b', 'c', 'd'].map((file) => ({ ...failure, file })), '4 files'],
])('%s is not run again', (_, first, reason) => {
  const { code, again, said } = look(first)

  expect(code).toBe(1)
  expect(again).not.toHaveBeenCalled()
  expect(said).toContain(reason)
  for (const { text } of first) expect(said).toContain(text.split('\n')[0])
})

test('the reporter writes down what tests, hooks, files and nobody caught', () => {
  const written: unknown[] = []
  const error = (message: string) => ({ name: 'Error', message, stack: `Error: ${message}` })
  const module = {
    moduleId: `${root}packages/retry/src/a.test.ts`,
    errors: () => [error('cannot be read')],
    children: {
      allSuites: () => [{ fullName: 'a suite', errors: () => [error('its hook')] }],
      allTests: () => [{ fullName: 'a suite > waits', result: () => ({ errors: [error('too late')] }) }],
    },
  }
  const late = { ...error('late'), type: 'Uncaught Exception', VITEST_TEST_PATH: module.moduleId }

  new FailuresReporter({ write: (failures: unknown) => written.push(failures) }).onTestRunEnd([module], [late])

  expect(written).toEqual([
    [
      { file: failure.file, name: 'the file itself', text: 'Error: cannot be read' },
      { file: failure.file, name: 'a suite', text: 'Error: its hook' },
      { file: failure.file, name: 'a suite > waits', text: 'Error: too late' },
      { file: failure.file, name: 'Uncaught Exception that no test has caught', text: 'Error: late' },
    ],
  ])
})
