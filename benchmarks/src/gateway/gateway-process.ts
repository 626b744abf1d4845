import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { GATEWAYS, PARTS } from './gateways.js'

/** One gateway alone in its process: `gateway-process.js <name> <upstream>`. */
const [name = '', upstream = ''] = process.argv.slice(2)

process.on('disconnect', () => process.exit())
// Asked for anything, it collects everything, as V8 does by itself after some idle seconds.
process.on('message', () => {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  process.send!('collected')
})
process.send!(await { ...GATEWAYS, ...PARTS }[name]!(upstream))
