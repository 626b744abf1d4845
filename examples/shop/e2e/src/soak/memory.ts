import { readdir, readFile } from 'node:fs/promises'

/** What a process and those that it started hold of the machine's memory, in megabytes. */
export async function residentMegabytes(pid: number): Promise<number> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const statuses = await Promise.all(ids.map((id) => readFile(`/proc/${id}/status`, 'utf8').catch(() => '')))
  const own = statuses.filter((text, index) => Number(ids[index]) === pid || field(text, 'PPid') === pid)
  return Math.round(own.reduce((sum, text) => sum + field(text, 'VmRSS'), 0) / 1_024)
}

function field(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
}

/**
 * By how much the last third of the samples is above the third before it, as a share. The first third is left out: until
 * then, what keeps the newest so and so many of something is filled.
 */
export function growth(samples: readonly number[]): number {
  const third = Math.floor(samples.length / 3)
  if (third === 0) return 0
  return average(samples.slice(-third)) / average(samples.slice(-2 * third, -third)) - 1
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
