import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'

/** Of these addresses, those whose ports answer on the addresses that other machines call this one by. */
export async function reachableFromOutside(urls: readonly string[]): Promise<string[]> {
  const hosts = Object.values(networkInterfaces()).flatMap((addresses = []) =>
    addresses.flatMap(({ internal, family, address }) => (internal || family !== 'IPv4' ? [] : [address])),
  )
  const doors = urls.flatMap((url) => hosts.map((host) => ({ host, port: Number(new URL(url).port) })))
  const open = await Promise.all(doors.map(answers))
  return doors.flatMap(({ host, port }, index) => (open[index] ? [`${host}:${port}`] : []))
}

function answers(door: { readonly host: string; readonly port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(door)
    const settle = (open: boolean) => {
      socket.destroy()
      resolve(open)
    }
    socket.setTimeout(2_000, () => settle(false))
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
  })
}
