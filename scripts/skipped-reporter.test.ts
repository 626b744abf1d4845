import { expect, test } from 'vitest'
import SkippedReporter from './skipped-reporter.mjs'

test('says each thing that was skipped once, with what to do about it, at the end', () => {
  const lines: string[] = []
  const reporter = new SkippedReporter({ print: (line: string) => lines.push(line) })
  const redis =
    '  SKIPPED: no Redis answers at 127.0.0.1:1\n  Start one with `scripts/services up redis`, or set REDIS_URL.'

  reporter.onUserConsoleLog({ content: `\n${redis}\n\n` })
  reporter.onUserConsoleLog({ content: 'something else' })
  reporter.onUserConsoleLog({ content: `\n${redis}\n\n` })
  expect(lines).toEqual([])
  reporter.onTestRunEnd()

  expect(lines.filter((line) => line.includes('SKIPPED'))).toEqual([redis])
})

test('says nothing when nothing was skipped', () => {
  const lines: string[] = []
  const reporter = new SkippedReporter({ print: (line: string) => lines.push(line) })

  reporter.onUserConsoleLog({ content: 'all is well' })
  reporter.onTestRunEnd()

  expect(lines).toEqual([])
})
