import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { browserPackages, runtimes, versions } from '../tooling/runtimes/catalogue.mjs'
import { judge } from '../tooling/runtimes/judge.mjs'
import { leftOut, leftOutOf } from '../tooling/runtimes/left-out.mjs'
import { formatTable } from '../tooling/runtimes/table.mjs'

const root = join(import.meta.dirname, '..')

describe('the catalogue', () => {
  it("drives the page with the workspace's own vitest", () => {
    const { version } = JSON.parse(readFileSync(join(root, 'node_modules/vitest/package.json'), 'utf8'))

    expect(versions.vitest).toBe(version)
  })

  it('pins every version to the last digit', () => {
    const pinned = [...runtimes.map(({ version }) => version), ...Object.values(versions)]

    for (const version of pinned) expect(version).toMatch(/^\d+\.\d+\.\d+$/)
    for (const name of browserPackages) expect(name).toMatch(/@\d+\.\d+\.\d+$/)
  })

  it('has each Node that CI runs on, but for the one that everything is developed on', () => {
    const workflow = readFileSync(join(root, '.github/workflows/ci.yml'), 'utf8')
    const [, list = ''] = /node: \[(.+)\]/.exec(workflow) ?? []
    const majors = [...list.matchAll(/"(\d+)/g)].map(([, major]) => `node${major}`)

    expect(runtimes.map(({ name }) => name).filter((name) => name.startsWith('node'))).toEqual(majors.slice(1))
  })
})

describe('what is left out', () => {
  it('names files that exist, each with a reason', () => {
    for (const { file, reason } of Object.values(leftOut).flat()) {
      if (!file.startsWith('*')) expect(existsSync(join(root, 'packages', file)), file).toBe(true)
      expect(reason).not.toBe('')
    }
  })

  it('is nothing on a Node', () => {
    expect(leftOutOf('node26')).toEqual({ files: [], tests: [] })
  })
})

describe('a report', () => {
  const passes = { status: 'passed', fullName: 'works', failureMessages: [] }
  const skipped = { status: 'skipped', fullName: 'needs more', failureMessages: [] }

  function judged(
    assertionResults: object[],
    { code = 0, tests = [] as object[], status = 'passed', message = '' } = {},
  ) {
    const testResults = [{ name: '/p/retry/src/a.test.ts', status, message, assertionResults }]
    return judge({ report: { testResults }, code, output: 'OUTPUT', packages: '/p', tests: tests as never })
  }

  it('counts what passed', () => {
    expect(judged([passes, passes])).toEqual({ files: 1, passed: 2, failed: 0, leftOut: 0, problems: [] })
  })

  it('shows what failed, and where', () => {
    const { failed, problems } = judged(
      [passes, { status: 'failed', fullName: 'breaks', failureMessages: ['expected 1'] }],
      { code: 1 },
    )

    expect(failed).toBe(1)
    expect(problems).toEqual(['retry/src/a.test.ts > breaks\nexpected 1'])
  })

  it('takes a file that could not be loaded for a failure', () => {
    const broken = { name: '/p/retry/src/b.test.ts', status: 'failed', message: 'no such module', assertionResults: [] }
    const fine = { name: '/p/retry/src/a.test.ts', status: 'passed', message: '', assertionResults: [passes] }
    const report = { testResults: [fine, broken] }
    const { problems } = judge({ report, code: 1, output: '', packages: '/p', tests: [] })

    expect(problems).toEqual(['retry/src/b.test.ts could not be loaded\nno such module'])
  })

  it('takes an error outside of any test for a failure', () => {
    expect(judged([passes], { code: 1 }).problems).toEqual(['vitest ended with 1\nOUTPUT'])
  })

  it.each([undefined, { testResults: [] }])('takes no test at all for a failure: %o', (report) => {
    expect(judge({ report, code: 0, output: 'OUTPUT', packages: '/p', tests: [] }).problems).toEqual([
      'no test ran\nOUTPUT',
    ])
  })

  it('accepts a skipped test only for a reason', () => {
    const entry = { file: 'retry/src/a.test.ts', test: 'needs more', reason: 'why' }

    expect(judged([passes, skipped], { tests: [entry] })).toMatchObject({ failed: 0, leftOut: 1 })
    expect(judged([passes, skipped]).problems[0]).toContain('was skipped without a reason')
  })

  it('does not forget the second client', () => {
    const testResults = [{ name: '/p/retry/src/a.test.ts', status: 'passed', message: '', assertionResults: [passes] }]
    const run = { code: 0, output: '', packages: '/p', tests: [], twice: ['retry/src/a.test.ts'] }

    expect(judge({ ...run, report: { testResults } }).problems[0]).toContain('did not run with @prometheus-io/client')
    expect(judge({ ...run, report: { testResults: [...testResults, ...testResults] } }).problems).toEqual([])
  })

  it('does not keep a reason for what is gone', () => {
    const entry = { file: 'retry/src/a.test.ts', test: 'was here once', reason: 'why' }

    expect(judged([passes], { tests: [entry] }).problems[0]).toContain('does not exist')
  })
})

it('prints columns', () => {
  const row = { files: 20, passed: 331, failed: 0, leftOut: 1, seconds: 8.46 }
  const rows = [
    { name: 'node22', version: '22.23.3', ...row },
    { name: 'bun', version: '1.4.5', ...row, passed: 9 },
    { name: 'chromium', skipped: 'not here' },
  ]

  expect(formatTable(rows).split('\n')).toEqual([
    'runtime  version  files  passed  failed  left out  seconds',
    'node22   22.23.3     20     331       0         1      8.5',
    'bun      1.4.5       20       9       0         1      8.5',
  ])
})
