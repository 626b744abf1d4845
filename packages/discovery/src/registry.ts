/** Where instances of services make themselves known. */
export interface Registry {
  /**
   * Enters an instance and keeps it entered until `deregister`. Register after the server listens.
   *
   * Rejects with a TypeError for a wrong registration, and with RegistryError when the registry refuses or does not
   * answer; then it may have the instance all the same, and registering again under the same id does no harm.
   */
  register(registration: Registration): Promise<Registered>
}

/** An instance of a service. Durations in milliseconds. */
export interface Registration {
  /** The service. */
  readonly name: string
  /** The instance; one with the same id replaces it. Default: `name-host-port`, so that a restart leaves no double. */
  readonly id?: string | undefined
  /** Where others reach it: not 0.0.0.0. */
  readonly host: string
  readonly port: number
  /** Default: none. */
  readonly tags?: readonly string[] | undefined
  /** Default: none. */
  readonly meta?: Readonly<Record<string, string>> | undefined
  /** How the registry knows that it is well. Default: it is taken to be, for as long as it is registered. */
  readonly check?: HttpCheck | TtlCheck | undefined
  /** How long an instance whose check fails stays registered. Needs a `check`. Default: without limit. */
  readonly removeAfter?: number | undefined
}

/** The registry asks the instance. Until it first did, the instance does not count as well. */
export interface HttpCheck {
  /** An absolute URL, as the registry reaches it; a 2xx answer is a good one. */
  readonly http: string
  /** Milliseconds from one question to the next. */
  readonly interval: number
}

/** The instance reports, by a timer of ours, for as long as its process lives and its event loop turns. */
export interface TtlCheck {
  /** Milliseconds without a report after which the instance counts as ill. It reports at least three times in them. */
  readonly ttl: number
}

/** An instance that is registered. */
export interface Registered extends AsyncDisposable {
  readonly id: string
  /** Ends the registration and its upkeep. Can be called again: after a failure it tries again. */
  deregister(): Promise<void>
  /** Listens; returns the function that stops listening. A listener that throws disturbs nobody. */
  on<Name extends keyof RegisteredEvents>(event: Name, listener: (event: RegisteredEvents[Name]) => void): () => void
}

/** What a registration tells its listeners. */
export interface RegisteredEvents {
  /** The registry could not be asked or told; it is tried again soon. */
  error: { readonly id: string; readonly error: Error }
  /** The registry had forgotten the instance, and knows it again. */
  restored: { readonly id: string }
}
