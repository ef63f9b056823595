//! From a promise to one test a model.

/// Makes a module of tests, one a model, for each promise: a function `fn(Model)` of the same name.
macro_rules! over_every_model {
    ($($promise:ident),+ $(,)?) => {$(
        mod $promise {
            use super::$promise as promise;
            use xtask::model::Model;

            #[test]
            fn single() {
                promise(Model::Single);
            }

            #[test]
            fn thread() {
                promise(Model::Thread);
            }

            #[test]
            fn fork() {
                promise(Model::Fork);
            }

            #[test]
            fn prefork() {
                promise(Model::Prefork);
            }

            #[test]
            fn prefork_thread() {
                promise(Model::PreforkThread);
            }
        }
    )+};
}

/// As `over_every_model!`, for those that refuse whoever comes beyond a limit. The others let them
/// wait in the kernel's queue.
macro_rules! over_models_with_a_limit {
    ($($promise:ident),+ $(,)?) => {$(
        mod $promise {
            use super::$promise as promise;
            use xtask::model::Model;

            #[test]
            fn thread() {
                promise(Model::Thread);
            }

            #[test]
            fn fork() {
                promise(Model::Fork);
            }

            #[test]
            fn prefork_thread() {
                promise(Model::PreforkThread);
            }
        }
    )+};
}
