import type { ServerResponse } from 'node:http'
import { problem } from './problem.js'
import { type Refusal, refuseConnection } from './target.js'

/** Answers what the checks of the target refused. */
export function refuse(res: ServerResponse, refusal: Refusal): void {
  if (refusal.status === 405) res.setHeader('allow', 'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT')
  res.setHeader('connection', 'close')
  refuseConnection(res.req)
  problem(res, refusal.status, { detail: refusal.detail })
}
