import { main } from '../harness/index.js'
import { BENCHMARKS, MEASURED } from './index.js'

await main(BENCHMARKS, MEASURED)
