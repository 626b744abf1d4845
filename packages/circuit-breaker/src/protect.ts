import { object } from './internal/validate.js'
import type { Policy } from './policy.js'
import { named } from './wrap.js'

/** A client whose methods go through a policy, and therefore all answer with a promise. */
export type Protected<S> = {
  [K in keyof S]: S[K] extends (...args: never[]) => PromiseLike<unknown>
    ? S[K]
    : S[K] extends (...args: infer A) => infer R
      ? (...args: A) => Promise<R>
      : S[K]
}

type Method = (...args: unknown[]) => unknown

/** What a proxy passes on to the service as it is; the number is how many arguments of the trap are about the service. */
const PASSED_ON = { set: 2, has: 1, deleteProperty: 1, defineProperty: 2, ownKeys: 0 }

/**
 * A stand-in for `service`. It is a proxy around an empty object of the same prototype rather than around the service:
 * a proxy must show a frozen property as it is, and could not guard the methods of a frozen client. Methods run on the
 * real object, so that its private fields work and its calls to itself are not counted twice.
 */
export function protectService<S extends object>(policy: Policy, service: S): Protected<S> {
  if (typeof service !== 'function') object('service', service)

  const guarded = new WeakMap<Method, Method>()
  const read = (key: PropertyKey): unknown => {
    const value: unknown = Reflect.get(service, key)
    if (typeof value !== 'function' || key === 'constructor') return value
    // Never guarded: the language itself calls these. They still need the real object as `this`.
    if (typeof key === 'symbol' || key === 'then') return value.bind(service)

    const method = value as Method
    let known = guarded.get(method)
    if (known === undefined) {
      known = named(key, (...args) => policy.execute(() => Reflect.apply(method, service, args)))
      guarded.set(method, known)
    }
    return known
  }

  const handler: ProxyHandler<S> = {
    get: (_, key) => read(key),
    getOwnPropertyDescriptor(_, key) {
      const own = Reflect.getOwnPropertyDescriptor(service, key)
      // The empty object has no such property, so it may not be reported as fixed.
      return own && { value: read(key), writable: true, enumerable: own.enumerable === true, configurable: true }
    },
  }
  for (const [trap, count] of Object.entries(PASSED_ON)) {
    const passOn = Reflect[trap as 'ownKeys'] as Method
    Object.assign(handler, { [trap]: (_: S, ...args: unknown[]) => passOn(service, ...args.slice(0, count)) })
  }
  return new Proxy(Object.create(Reflect.getPrototypeOf(service)), handler) as Protected<S>
}
