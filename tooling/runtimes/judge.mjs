// What a run's report says, as numbers and as what has gone wrong.

import { relative } from 'node:path'

/**
 * @typedef {object} Result
 * @property {number} files
 * @property {number} passed
 * @property {number} failed
 * @property {number} leftOut        Single tests; whole files are not in the report.
 * @property {readonly string[]} problems
 */

/**
 * @param {object} run
 * @param {any} run.report           Of vitest's json reporter; undefined when it wrote none.
 * @param {number | null} run.code   What vitest ended with.
 * @param {string} run.output        What it printed.
 * @param {string} run.packages      The folder of the packages.
 * @param {readonly import('./left-out.mjs').LeftOut[]} run.tests  The tests that were to be left out.
 * @param {readonly string[]} [run.twice]  The files, below the packages, that were to run with either client.
 * @returns {Result}
 */
export function judge({ report, code, output, packages, tests, twice = [] }) {
  const suites = (report?.testResults ?? []).map((suite) => ({ ...suite, file: relative(packages, suite.name) }))
  const results = suites.flatMap(({ file, assertionResults }) =>
    assertionResults.map((result) => ({ file, ...result })),
  )
  const having = (status) => results.filter((result) => result.status === status)
  const skipped = results.filter(({ status }) => status !== 'passed' && status !== 'failed')

  const problems = [
    ...suites
      .filter(({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0)
      .map(({ file, message }) => `${file} could not be loaded\n${message}`),
    ...having('failed').map(({ file, fullName, failureMessages }) => `${file} > ${fullName}\n${failureMessages[0]}`),
    ...tests
      .filter(({ file, test }) => !skipped.some((result) => result.file === file && result.fullName === test))
      .map(({ file, test }) => `${file} > ${test}\nis left out, and does not exist: take it from left-out.mjs`),
    ...skipped
      .filter(({ file, fullName }) => !tests.some((entry) => entry.file === file && entry.test === fullName))
      .map(({ file, fullName }) => `${file} > ${fullName}\nwas skipped without a reason in left-out.mjs`),
    ...twice
      .filter((wanted) => suites.filter(({ file }) => file === wanted).length < 2)
      .map((file) => `${file}\ndid not run with @prometheus-io/client: see catalogue.mjs`),
  ]
  if (having('passed').length === 0) problems.unshift(`no test ran\n${output}`)
  // Errors outside of any test are in no report.
  else if (code !== 0 && problems.length === 0) problems.push(`vitest ended with ${code}\n${output}`)

  return {
    files: suites.length,
    passed: having('passed').length,
    failed: problems.length,
    leftOut: skipped.length,
    problems,
  }
}
