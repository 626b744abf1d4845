import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Comparison } from './compare.js'
import { machine } from './machine.js'
import { type Effort, QUICK, THOROUGH } from './measure.js'
import { machineLine, table } from './table.js'

export interface Benchmark {
  /** What it is chosen by on the command line. */
  readonly name: string
  /** Yields each comparison as soon as it is made. */
  run(effort: Effort): AsyncIterable<Comparison>
}

/**
 * Runs the benchmarks named on the command line, or all of them, and prints a table each.
 *
 * `--quick`: fewer rounds. `--json`: one JSON document instead of tables; `--out <file>`: that document into a file, too.
 * `--check`: exit code 1 when a target was missed.
 */
export async function main(benchmarks: readonly Benchmark[], packages: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      out: { type: 'string' },
    },
  })
  const say = values.json ? () => {} : console.log
  const where = machine(packages)
  say(`${machineLine(where)}\n`)
  if (globalThis.gc === undefined) say('Without --expose-gc one subject pays for the garbage of another.\n')

  const results: Comparison[] = []
  for (const benchmark of chosen(benchmarks, positionals)) {
    for await (const comparison of benchmark.run(values.quick ? QUICK : THOROUGH)) {
      results.push(comparison)
      say(`${table(comparison)}\n`)
    }
  }

  const document = JSON.stringify({ ...where, results }, rounded, 2)
  if (values.json) console.log(document)
  if (values.out !== undefined) writeFileSync(values.out, `${document}\n`)

  const missed = missedTargets(results)
  for (const line of missed) say(`Missed: ${line}`)
  if (values.check && missed.length > 0) process.exitCode = 1
}

function chosen(benchmarks: readonly Benchmark[], names: readonly string[]): readonly Benchmark[] {
  for (const name of names) {
    if (!benchmarks.some((benchmark) => benchmark.name === name)) {
      throw new Error(`No benchmark "${name}"; there are ${benchmarks.map((known) => known.name).join(', ')}`)
    }
  }
  return names.length === 0 ? benchmarks : benchmarks.filter(({ name }) => names.includes(name))
}

export function missedTargets(results: readonly Comparison[]): readonly string[] {
  return results.flatMap(({ title, unit, rows }) =>
    rows.flatMap(({ name, amount, ratio, target }) => {
      if (target === undefined || target.reached || target.kind === 'goal') return []

      const was = target.of === 'ratio' ? `${ratio?.median.toFixed(3)} of ${name}` : `${amount.median} ${unit}`
      return [`${title}: ${was}, target ${target.limit}`]
    }),
  )
}

/** Four digits are more than these figures hold. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value
}
