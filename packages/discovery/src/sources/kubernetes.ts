import { readFileSync } from 'node:fs'
import type { DnsOptions } from '../dns/options.js'
import { wrongOption } from '../internal/options.js'
import type { Source } from '../source.js'
import { dnsA } from './dns-a.js'
import { dnsSrv } from './dns-srv.js'

export interface KubernetesOptions extends Omit<DnsOptions, 'name'> {
  /**
   * The port of the Service. Its name (`http`): SRV records, which have the number; with a headless Service
   * (`clusterIP: None`) one endpoint per ready pod, whatever port each pod uses. Its number: the addresses of the plain
   * name, one per ready pod of a headless Service, else the Service's one virtual address, behind which the cluster balances.
   */
  readonly port: string | number
  /** Where services are that do not name theirs (`users.shop`). Default: the pod's own, outside a pod `default`. */
  readonly namespace?: string | undefined
  /** The protocol of a named port. Default: `tcp`. */
  readonly protocol?: 'tcp' | 'udp' | 'sctp' | undefined
  /** The cluster's domain. Default: `cluster.local`. */
  readonly domain?: string | undefined
}

/** Where a pod finds the name of its namespace. */
const OWN_NAMESPACE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace'

/** What Kubernetes allows as the name of a Service or a namespace (RFC 1035 label, or RFC 1123 for namespaces). */
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
/** And as the name of a port (RFC 6335 service name). */
const PORT_NAME = /^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/
const DOMAIN = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/

/**
 * The Services of a Kubernetes cluster, by the cluster's DNS: `users`, or `users.shop` for one in the namespace `shop`.
 * Pods come and go with their readiness, without any right to ask the API server. Names are asked in full, with the dot
 * at the end: the search domains of a pod would turn each question into five.
 *
 * Throws a TypeError for a wrong option; a name that no Service can have is a failure of the source.
 *
 * @example
 * ```ts
 * const source = kubernetes({ port: 'http', namespace: 'shop' })
 * ```
 */
export function kubernetes(options: KubernetesOptions): Source {
  const { port, namespace = ownNamespace(), protocol = 'tcp', domain = 'cluster.local', ...dns } = options ?? {}

  const isName = typeof port === 'string'
  if (isName && !PORT_NAME.test(port)) throw wrongOption('port', port, 'the name of a port, such as http, or a number')
  if (!isName && typeof port !== 'number')
    throw wrongOption('port', port, 'the name of a port, such as http, or a number')
  if (!LABEL.test(namespace)) throw wrongOption('namespace', namespace, 'the name of a namespace')
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp') {
    throw wrongOption('protocol', protocol, "'tcp', 'udp' or 'sctp'")
  }
  if (!DOMAIN.test(domain)) throw wrongOption('domain', domain, 'a domain such as cluster.local')

  const inFull = (service: string) => `${qualified(service, namespace)}.svc.${domain}.`

  return isName
    ? dnsSrv({ ...dns, name: (service) => `_${port}._${protocol}.${inFull(service)}` })
    : dnsA({ ...dns, port, name: inFull })
}

/** `users` in the default namespace, `users.shop` as it is. */
function qualified(service: string, namespace: string): string {
  const [name = '', own = namespace, ...more] = service.split('.')
  if (LABEL.test(name) && LABEL.test(own) && more.length === 0) return `${name}.${own}`

  throw new TypeError(`"${service}" is no Kubernetes service: expected a name such as users, or users.shop`)
}

function ownNamespace(): string {
  try {
    return readFileSync(OWN_NAMESPACE, 'utf8').trim()
  } catch {
    return 'default'
  }
}
