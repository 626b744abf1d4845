import { type Logger, pino } from 'pino'

export type Log = Logger

/** Logs to standard error, so that standard output stays for what a person asked for. `LOG_LEVEL` changes the level. */
export function createLog(name: string, level: string = process.env['LOG_LEVEL'] || 'warn'): Log {
  return pino({ name, level, base: { service: name } }, pino.destination({ dest: 2, sync: true }))
}
