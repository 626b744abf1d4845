import type { ServerResponse } from 'node:http'
import { closeAfter, isHttp2 } from './http2.js'
import { methodsTaken } from './max-forwards.js'
import { problem } from './problem.js'
import { type Refusal, refuseConnection } from './target.js'

/** Answers what the checks of the target refused. */
export function refuse(res: ServerResponse, refusal: Refusal): void {
  if (refusal.status === 405) res.setHeader('allow', methodsTaken)
  // Over HTTP/2 the streams of a connection are told apart whatever one of them says.
  if (!isHttp2(res.req)) refuseConnection(res.req)
  closeAfter(res)
  problem(res, refusal.status, { detail: refusal.detail })
}
