import { GATEWAYS } from './gateways.js'

/** One gateway alone in its process: `gateway-process.js <name> <upstream>`. */
const [name = '', upstream = ''] = process.argv.slice(2)

process.on('disconnect', () => process.exit())
process.send!(await GATEWAYS[name]!(upstream))
