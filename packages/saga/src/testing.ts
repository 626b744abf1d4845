export { type CrashReport, crashPoints, type World } from './testing/crash-points.js'
export { type ContractCase, storeContract } from './testing/store-contract.js'
export {
  type FaultOptions,
  type SagaTest,
  type TestedSaga,
  type TestSagaOptions,
  testSaga,
} from './testing/test-saga.js'
