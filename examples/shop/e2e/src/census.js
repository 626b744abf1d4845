// Loaded into a shop before its own code: at each SIGUSR2 it has the garbage collected and says how many HTTP servers are
// left in its memory. A service that something holds on to keeps its server there.
import { Server } from 'node:http'
import { queryObjects } from 'node:v8'

process.on('SIGUSR2', () => console.log(`servers in memory: ${queryObjects(Server, { format: 'count' })}`))
