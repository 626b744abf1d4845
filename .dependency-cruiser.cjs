// Who may know whom. The arrows are those of the README's picture; scripts/dependency-rules.test.ts plants forbidden
// imports and sees each of them refused.

/** A workspace package, whether the import was resolved to its folder or only by its name. */
const msx = (names) => [`^packages/(${names})/`, `^@msx/(${names})(/|$)`]
const all = 'retry|circuit-breaker|saga|discovery|messaging|gateway-kit'
const allBut = (...allowed) =>
  all
    .split('|')
    .filter((name) => !allowed.includes(name))
    .join('|')

const mayKnow = (name, ...allowed) => ({
  name: `${name}-knows-${allowed.length === 0 ? 'nobody' : `only-${allowed.join('-')}`}`,
  severity: 'error',
  from: { path: `^packages/${name}/src/` },
  to: { path: msx(allBut(name, ...allowed)) },
})

/** An optional peer is imported by the one subpath that needs it, and by tests. */
const onlyIn = (library, ...files) => ({
  name: `${library.replace(/\W+/g, '-')}-only-in-its-subpath`,
  severity: 'error',
  from: { path: '^packages/[^/]+/src/', pathNot: ['\\.(test|test-d)\\.ts$', ...files] },
  to: { path: [`(^|/)node_modules/${library}/`, `^${library}(/|$)`] },
})

const services = 'examples/shop/services'

module.exports = {
  forbidden: [
    mayKnow('retry'),
    mayKnow('circuit-breaker'),
    mayKnow('saga', 'retry'),
    mayKnow('discovery', 'retry'),
    mayKnow('messaging', 'retry'),
    mayKnow('gateway-kit', 'retry', 'circuit-breaker', 'discovery'),
    {
      name: 'packages-do-not-know-the-shop',
      severity: 'error',
      from: { path: '^packages/' },
      to: { path: ['^examples/', '^@shop/'] },
    },
    {
      name: 'ground-floor-runs-everywhere',
      comment: 'retry and circuit-breaker run in browsers, Deno and Bun: no module of Node in them.',
      severity: 'error',
      from: { path: '^packages/(retry|circuit-breaker)/src/', pathNot: ['\\.test\\.ts$', '/src/undici'] },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'root-entry-does-not-reach-undici',
      severity: 'error',
      from: { path: '^packages/(retry|circuit-breaker|discovery)/src/index\\.ts$' },
      to: { path: ['/src/undici', '^undici(/|$)'], reachable: true },
    },
    onlyIn('undici', '^packages/(retry|circuit-breaker|discovery)/src/undici', '^packages/gateway-kit/src/'),
    onlyIn('jose', '^packages/gateway-kit/src/jwt'),
    onlyIn('@grpc/grpc-js', '^packages/gateway-kit/src/grpc'),
    onlyIn('protobufjs', '^packages/gateway-kit/src/grpc'),
    onlyIn('amqplib', '^packages/messaging/src/rabbitmq'),
    onlyIn('consul', '^packages/discovery/src/consul'),
    onlyIn('pg', '^packages/(saga|messaging)/src/testing/databases', '^packages/(saga|messaging)/src/cli'),
    onlyIn('prom-client', '^packages/gateway-kit/src/cli/'),
    onlyIn('ioredis', '^packages/gateway-kit/src/(cli|internal/test-redis)'),
    onlyIn('redis', '^packages/gateway-kit/src/(cli|internal/test-redis)'),
    onlyIn('@opentelemetry/api', '^packages/[^/]+/src/opentelemetry'),
    {
      name: 'a-service-knows-no-other-service',
      severity: 'error',
      from: { path: `^${services}/([^/]+)/` },
      to: { path: [`^${services}/`, '^@shop/[a-z]+-service', '^@shop/api-gateway'], pathNot: [`^${services}/$1/`] },
    },
    {
      name: 'contracts-hold-no-code-of-the-shop',
      severity: 'error',
      from: { path: '^examples/shop/(contracts|platform)/' },
      to: { path: [`^${services}/`, '^examples/shop/runner/', '^@shop/([a-z]+-service|api-gateway|runner)'] },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
  ],
  options: {
    doNotFollow: { path: ['node_modules', '/dist/'] },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['types', 'default'] },
  },
}
