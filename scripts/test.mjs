// `npm test`: from a bare clone to a tested one. Arguments go to vitest: `npm test -- packages/retry`.
import { build, checkNode, install, step } from './prepare.mjs'

checkNode()
await install()
await build()

await step('turbo', ['run', 'typecheck', '--output-logs=errors-only'], {
  failed: 'The types do not hold.',
  advice: 'The errors are above; `pnpm typecheck` shows them again.',
})
const args = process.argv.slice(2)
// Who names a reporter names them all; the summary comes on top.
const reporters = args.some((arg) => arg.startsWith('--reporter')) ? [] : ['--reporter=default']

const ours = ['skipped', 'failures'].map((name) => `--reporter=./scripts/${name}-reporter.mjs`)

await step('vitest', ['run', ...reporters, ...ours, ...args], {
  failed: 'Tests failed.',
  advice: 'The failures are above; `npm test -- <path>` runs the tests of one folder.',
})
