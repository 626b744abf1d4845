import { createServer } from 'node:net'
import { StartError } from './start-error.js'

/**
 * The port that the gateway will listen on, looked at before anything is started for it. 0 becomes a free one, which
 * the gateway keeps when it is started again.
 */
export function freePort(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => reject(explained(error, port)))
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : port))
    })
  })
}

function explained(error: NodeJS.ErrnoException, port: number): Error {
  switch (error.code) {
    case 'EADDRINUSE':
      return new StartError(`port ${port} is taken by another program; stop it, or set PORT to another port`)
    case 'EACCES':
      return new StartError(`this user may not listen on port ${port}; set PORT to one above 1023`)
    default:
      return error
  }
}
