// `npm start`: from a bare clone to a running shop. A second start installs and builds nothing and needs no network.
import { build, checkNode, install } from './prepare.mjs'

checkNode()
await install()
await build()
await import('../examples/shop/runner/dist/main.js')
