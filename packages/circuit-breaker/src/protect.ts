import { object } from './internal/validate.js'
import type { Policy } from './policy.js'

/** A client whose methods go through a policy, and therefore all answer with a promise. */
export type Protected<S> = {
  [K in keyof S]: S[K] extends (...args: never[]) => PromiseLike<unknown>
    ? S[K]
    : S[K] extends (...args: infer A) => infer R
      ? (...args: A) => Promise<R>
      : S[K]
}

type Method = (...args: unknown[]) => unknown

/**
 * A stand-in for `service`. It is a proxy around an empty object of the same prototype rather than around the service:
 * a proxy must show a frozen property as it is, and could not guard the methods of a frozen client. Methods run on the
 * real object, so that its private fields work and its calls to itself are not counted twice.
 */
export function protectService<S extends object>(policy: Policy, service: S): Protected<S> {
  if (typeof service !== 'function') object('service', service)

  const guarded = new WeakMap<Method, Method>()
  const guard = (key: string, method: Method): Method => {
    let known = guarded.get(method)
    if (known === undefined) {
      known = (...args) => policy.execute(() => Reflect.apply(method, service, args))
      Object.defineProperty(known, 'name', { value: key, configurable: true })
      guarded.set(method, known)
    }
    return known
  }

  const read = (key: PropertyKey): unknown => {
    const value: unknown = Reflect.get(service, key)
    if (typeof value !== 'function' || key === 'constructor') return value
    // Never guarded: the language itself calls these. They still need the real object as `this`.
    if (typeof key === 'symbol' || key === 'then') return value.bind(service)

    return guard(String(key), value as Method)
  }

  const facade: object = Object.create(Reflect.getPrototypeOf(service))
  return new Proxy(facade, {
    get: (_, key) => read(key),
    set: (_, key, value) => Reflect.set(service, key, value),
    has: (_, key) => Reflect.has(service, key),
    deleteProperty: (_, key) => Reflect.deleteProperty(service, key),
    defineProperty: (_, key, descriptor) => Reflect.defineProperty(service, key, descriptor),
    ownKeys: () => Reflect.ownKeys(service),
    getOwnPropertyDescriptor(_, key) {
      const own = Reflect.getOwnPropertyDescriptor(service, key)
      // The empty object has no such property, so it may not be reported as fixed.
      return own && { value: read(key), writable: true, enumerable: own.enumerable === true, configurable: true }
    },
  }) as Protected<S>
}
