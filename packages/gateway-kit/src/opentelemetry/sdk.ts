import { ProxyTracerProvider, trace } from '@opentelemetry/api'

/** Whether the process has registered something that takes spans: without it the API swallows them. */
export function hasSdk(): boolean {
  const provider = trace.getTracerProvider()

  return !(provider instanceof ProxyTracerProvider) || provider.getDelegate().constructor.name !== 'NoopTracerProvider'
}
