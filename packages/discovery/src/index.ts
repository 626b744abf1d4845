/// <reference lib="esnext.disposable" preserve="true" />

export type { Balancer, BalancerFactory, Node, Outcome, PickOptions, Sample } from './balancer.js'
export { consistentHash } from './balancers/consistent-hash.js'
export { leastRequest } from './balancers/least-request.js'
export type { PeakEwmaOptions } from './balancers/peak-ewma.js'
export { peakEwma } from './balancers/peak-ewma.js'
export { randomChoice } from './balancers/random-choice.js'
export { roundRobin } from './balancers/round-robin.js'
export type { Clock } from './clock.js'
export type { Discovery, DiscoveryOptions, DiscoveryTelemetry } from './discovery.js'
export { createDiscovery } from './discovery.js'
export type { DnsOptions } from './dns/options.js'
export type { Endpoint, EndpointInit, Scheme } from './endpoint.js'
export {
  DiscoveryClosedError,
  isDiscoveryClosedError,
  isNoEndpointsError,
  isRegistryError,
  NoEndpointsError,
  RegistryError,
} from './errors.js'
export type { DiscoveryEvents } from './events.js'
export type { EjectionReason } from './internal/ejections.js'
export type { Lease } from './lease.js'
export type { OutlierOptions, SuccessRateOptions } from './outlier.js'
export type { HttpCheck, Registered, RegisteredEvents, Registration, Registry, TtlCheck } from './registry.js'
export type { EndpointMetrics, Service, ServiceMetrics } from './service.js'
export type { Snapshot } from './snapshot.js'
export type { Source, SourceSink } from './source.js'
export type { DnsAOptions } from './sources/dns-a.js'
export { dnsA } from './sources/dns-a.js'
export { dnsSrv } from './sources/dns-srv.js'
export { fallbackSource } from './sources/fallback-source.js'
export type { FixedAddress } from './sources/fixed.js'
export { fixed } from './sources/fixed.js'
export type { KubernetesOptions } from './sources/kubernetes.js'
export { kubernetes } from './sources/kubernetes.js'
