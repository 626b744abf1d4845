// `npm run reset`: drops the shop's data, so that the next start begins with a fresh one.
import { build, checkNode, install } from './prepare.mjs'

checkNode()
await install()
await build()
const { reset } = await import('../examples/shop/runner/dist/reset.js')
await reset()
