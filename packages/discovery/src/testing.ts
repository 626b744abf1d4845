export {
  type ContractCase,
  type Place,
  type Places,
  type SourceBench,
  type SourceContractOptions,
  sourceContract,
} from './testing/source-contract.js'
