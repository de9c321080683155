//! Clusters of machines, created, scaled and deleted by sagas.
