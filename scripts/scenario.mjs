// `pnpm --filter shop scenario <name>`: breaks the shop on purpose and says what came of it, from a bare clone.
import { build, checkNode, install } from './prepare.mjs'

checkNode()
await install()
await build()
await import('../examples/shop/scenarios/dist/cli.js')
