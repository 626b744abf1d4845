/// <reference lib="esnext.disposable" preserve="true" />

export type { CancelAnswer, Resume } from './decide.js'
export { type Add, type Chain, type Definition, type Fresh, type SagaOptions, type Steps, saga } from './definition.js'
export {
  createSagaEngine,
  type ListFilter,
  type ListPage,
  type SagaEngine,
  type SagaEngineOptions,
  type SagaHandle,
  type SettledOptions,
  type StartOptions,
} from './engine.js'
export {
  EngineClosedError,
  isEngineClosedError,
  isLeaseLostError,
  isNonRetryableError,
  isSagaCancelledError,
  isSagaConflictError,
  isSagaDeadlineError,
  isSagaFailedError,
  isSagaNotFoundError,
  isSagaStuckError,
  isSagaWaitTimeoutError,
  isStepRejectedError,
  isStepTimeoutError,
  LeaseLostError,
  NonRetryableError,
  SagaCancelledError,
  SagaConflictError,
  SagaDeadlineError,
  SagaFailedError,
  SagaNotFoundError,
  SagaStuckError,
  SagaWaitTimeoutError,
  StepRejectedError,
  StepTimeoutError,
  type StoredError,
} from './errors.js'
export type { SagaEvent, SagaEvents, StepEvent } from './events.js'
export { type MemoryStoreOptions, memoryStore } from './memory.js'
export type { Backoff, Clock, Database, Outcome, Prettify, Queryable, Stored } from './shapes.js'
export type {
  CompensateContext,
  ForwardOptions,
  Run,
  StepContext,
  StepOptions,
  StepOutcome,
  StepRetry,
  TxRun,
  TxStepOptions,
  UndoPolicy,
} from './step.js'
export type {
  ClaimRequest,
  Guard,
  ListQuery,
  NewRecord,
  NewSaga,
  Progress,
  RecordRow,
  SagaRow,
  SagaStatus,
  Store,
  Support,
  Tags,
  Transition,
} from './store.js'
export type { Page, SagaView, StepRecord } from './view.js'
