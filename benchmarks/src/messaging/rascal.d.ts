/** The part of it that is measured; the package has no types of its own. */
declare module 'rascal' {
  export interface Publication {
    on(event: 'success' | 'error' | 'return', listener: (what: unknown) => void): this
  }
  export interface Session {
    on(event: 'message', listener: (message: unknown, content: unknown, ackOrNack: () => void) => void): this
    on(event: 'error', listener: (error: unknown) => void): this
    cancel(): Promise<void>
  }
  export interface Broker {
    publish(name: string, payload: unknown, overrides: object): Promise<Publication>
    subscribe(name: string): Promise<Session>
    on(event: 'error', listener: (error: unknown) => void): this
    shutdown(): Promise<void>
  }
  const rascal: {
    readonly BrokerAsPromised: { create(config: object): Promise<Broker> }
    withDefaultConfig(config: object): object
  }
  export default rascal
}
